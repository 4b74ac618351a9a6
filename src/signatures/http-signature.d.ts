/** The few functions of http-signature 1.4 that are used; the published types do not describe what it does. */
declare module "http-signature" {
  interface RequestSigner {
    writeTarget(method: string, path: string): void;
    writeHeader(name: string, value: string): string;
    sign(callback: (error: Error | null, authorization?: string) => void): void;
  }

  interface RawSignature {
    keyId: string;
    algorithm: string;
    signature: string;
  }

  interface Parsed {
    readonly signingString: string;
    readonly keyId: string;
    readonly params: {
      readonly headers: readonly string[];
      readonly signature: string;
      readonly created?: number;
      readonly expires?: number;
    };
  }

  const httpSignature: {
    parseRequest(
      request: { method: string; url: string; headers: Readonly<Record<string, string>> },
      options: { authorizationHeaderName: string; clockSkew: number; headers: string[]; strict: boolean },
    ): Parsed;
    createSigner(options: {
      sign: (data: string, callback: (error: Error | null, signature?: RawSignature) => void) => void;
    }): RequestSigner;
  };
  export default httpSignature;
}
