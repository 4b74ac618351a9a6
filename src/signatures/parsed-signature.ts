import type { SignatureCode } from "./verdict.ts";

/** The two ways in which a request can be signed. */
export type SignatureForm = "draft-cavage" | "rfc9421";

/** One signature, whichever form it came in: everything that the policy judges. */
export interface ParsedSignature {
  readonly form: SignatureForm;
  readonly keyId: string;
  /** As declared; null when nothing is. */
  readonly algorithm: string | null;
  /**
   * What is covered, in order, duplicates visible: names in lower case; of RFC 9421 as they came, and a component with
   * parameters as it is serialised, `"date";sf`.
   */
  readonly components: readonly string[];
  /** Seconds. */
  readonly created: number | null;
  readonly expires: number | null;
  readonly signature: Uint8Array;
  /** Gives the text that is signed, at this canonical origin; null when something covered is absent from the request. */
  readonly writeSigned: ((origin: string) => string) | null;
}

/** Well-formed headers that hold no one signature which could be judged; refused only after the host was. */
export interface NoSignature {
  readonly keyId: null;
  readonly code: SignatureCode;
  readonly detail: string;
}

export function noSignature(code: SignatureCode, detail: string): NoSignature {
  return { keyId: null, code, detail };
}
