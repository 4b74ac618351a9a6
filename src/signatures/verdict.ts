import type { ProblemCode } from "../errors.ts";

export type SignatureCode = Extract<ProblemCode, `signature_${string}`>;

/** What a check says: `code` goes over the wire, `detail` is one sentence without any input in it. */
export type Verdict =
  | { readonly verified: true }
  | { readonly verified: false; readonly code: SignatureCode; readonly detail: string };

export const verified: Verdict = { verified: true };

export function refuse(code: SignatureCode, detail: string): Verdict {
  return { verified: false, code, detail };
}
