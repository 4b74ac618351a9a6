import type { SignatureCode } from "./verdict.ts";

/** One signature, whichever form it came in: everything that the policy judges. RFC 9421 will produce the same. */
export interface ParsedSignature {
  readonly form: "draft-cavage";
  readonly keyId: string;
  /** As declared; null when nothing is. */
  readonly algorithm: string | null;
  /** What is covered, lower case, in order, duplicates visible. */
  readonly components: readonly string[];
  /** Seconds. */
  readonly created: number | null;
  readonly expires: number | null;
  readonly signature: Uint8Array;
  /** The text that is signed; null when something covered is absent from the request. */
  readonly signed: string | null;
}

/** Well-formed headers that hold no one signature which could be judged; refused only after the host was. */
export interface NoSignature {
  readonly keyId: null;
  readonly code: SignatureCode;
  readonly detail: string;
}
