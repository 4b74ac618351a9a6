/** `Accept-Signature` (RFC 9421, section 5.1): how one side says that it wants message signatures. */
import { isInnerList } from "structured-headers";
import { messageAlgorithms } from "./rfc9421.ts";
import { readDictionary } from "./structured-fields.ts";

/** What a peer asks for; `keyType` null when it leaves the choice. */
export interface AskedSignature {
  readonly form: "rfc9421";
  readonly keyType: keyof typeof messageAlgorithms | null;
}

/** What our signatures cover, or say by covering @target-uri. */
const covered = new Set(["@method", "@target-uri", "@authority", "@scheme", "@path", "@query", "@request-target"]);
const coveredHeaders = new Set(["content-digest", "content-type", "date"]);
/** Parameters that our signatures have; `keyid` would name a key of ours, and the actor of the activity chooses that. */
const given = new Set(["created", "expires", "keyid", "alg"]);

/**
 * The value with which this node asks for a message signature, in the answer to a request that had none which it
 * accepts: the least that its policy demands. No algorithm, since both are accepted.
 */
export function acceptSignatureHeader(request: { readonly digest: boolean }): string {
  const components = ["@method", "@target-uri", ...(request.digest ? ["content-digest"] : [])];
  return `sig1=(${components.map((name) => `"${name}"`).join(" ")});created`;
}

/**
 * What a peer asks for with the lines of that header; null when it asks for nothing that this node can give, or when
 * the header cannot be read, which is no reason to fail.
 */
export function readAcceptSignature(lines: readonly string[]): AskedSignature | null {
  const field = readDictionary(lines);
  if (!field.read) return null;
  for (const member of field.members.values()) {
    if (!isInnerList(member)) continue;
    const [items, parameters] = member;
    const known = items.every(
      ([name, { size }]) => size === 0 && typeof name === "string" && (covered.has(name) || coveredHeaders.has(name)),
    );
    if (!known || ![...parameters.keys()].every((name) => given.has(name))) continue;
    const algorithm = parameters.get("alg");
    if (algorithm === undefined) return { form: "rfc9421", keyType: null };
    if (algorithm === messageAlgorithms.ed25519) return { form: "rfc9421", keyType: "ed25519" };
    if (algorithm === messageAlgorithms.rsa) return { form: "rfc9421", keyType: "rsa" };
  }
  return null;
}
