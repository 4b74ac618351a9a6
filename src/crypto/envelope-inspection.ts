/** What a node checks of a sealed envelope without any key (docs/protocol.md, "Sealed envelope"). */
import { Problem } from "../errors.ts";
import { canonicalJson } from "../protocol/canonical-json.ts";
import { isJsonObject, type JsonObject, typesOf } from "../protocol/objects.ts";
import { suite } from "../protocol/suite.ts";
import { decodeJsonObject } from "./jws.ts";
import { decodeBase64url, encodeBase64url, isWeakKey, parsePublicJwk } from "./keys.ts";

/** What a well-formed envelope says of itself: recipients' kids in its order, the sender's actor URL, the revision. */
export interface EnvelopeFacts {
  readonly kids: readonly string[];
  readonly sender: string;
  readonly revision: number;
}

/** `hf:revision` of an object, `hf:seq` of a transition. */
export function revisionOf(object: Readonly<JsonObject>): unknown {
  return typesOf(object).includes("hf:Transition") ? object["hf:seq"] : object["hf:revision"];
}

/** The `aad` of an envelope: base64url of the JCS of its binding. */
export function encodeBinding(object: unknown, revision: unknown, sender: unknown): string {
  return encodeBase64url(new TextEncoder().encode(canonicalJson({ object, revision, sender })));
}

/**
 * Checks form and binding of an object's `hf:sealed` and gives what it says of itself.
 * @throws {Problem} `envelope_missing`, `envelope_shape`, `envelope_binding`
 */
export function inspectEnvelope(object: Readonly<JsonObject>): EnvelopeFacts {
  if (object["hf:sealed"] === undefined) throw new Problem("envelope_missing");
  const kids = readEnvelopeKids(object["hf:sealed"]);
  if (kids === null) throw new Problem("envelope_shape");
  const facts = readBinding(object);
  if (facts === null) throw new Problem("envelope_binding");
  return { kids, ...facts };
}

/** The recipients' kids of an object whose envelope was inspected when it came: nothing is judged again. */
export function listRecipientKids(object: Readonly<JsonObject>): readonly string[] {
  const { recipients } = object["hf:sealed"] as {
    readonly recipients: readonly { readonly header: { readonly kid: string } }[];
  };
  return recipients.map(({ header }) => header.kid);
}

/** The recipients' kids of a well-formed envelope, or null: exactly the members of the format, nothing else. */
export function readEnvelopeKids(sealed: unknown): readonly string[] | null {
  if (!hasMembers(sealed, ["aad", "ciphertext", "iv", "protected", "recipients", "tag"])) return null;
  const header = decodeJsonObject(sealed.protected)?.value;
  const { recipients } = sealed;
  if (header === undefined || !Array.isArray(recipients) || recipients.length === 0) return null;
  const single = recipients.length === 1;
  if (!hasMembers(header, single ? ["alg", "enc", "epk"] : ["alg", "enc"])) return null;
  if (header.alg !== suite.encryption.alg || header.enc !== suite.encryption.enc) return null;
  if (single && !isEphemeralKey(header.epk)) return null;
  if (decodeBase64url(sealed.iv)?.length !== suite.encryption.ivOctets) return null;
  if (decodeBase64url(sealed.tag)?.length !== suite.encryption.tagOctets) return null;
  if (decodeBase64url(sealed.ciphertext) === null || decodeBase64url(sealed.aad) === null) return null;
  const kids: string[] = [];
  for (const recipient of recipients as unknown[]) {
    if (!hasMembers(recipient, ["encrypted_key", "header"])) return null;
    if (!hasMembers(recipient.header, single ? ["kid"] : ["epk", "kid"])) return null;
    const { kid, epk } = recipient.header;
    if (decodeBase64url(recipient.encrypted_key)?.length !== suite.encryption.wrappedKeyOctets) return null;
    if (typeof kid !== "string" || decodeBase64url(kid)?.length !== 32 || (!single && !isEphemeralKey(epk)))
      return null;
    kids.push(kid);
  }
  return new Set(kids).size === kids.length ? kids : null;
}

/** Sender and revision, when `aad` binds exactly this object, its revision and a sender that may have sealed it. */
function readBinding(object: Readonly<JsonObject>): { readonly sender: string; readonly revision: number } | null {
  const { aad } = object["hf:sealed"] as JsonObject;
  const binding = decodeJsonObject(aad)?.value;
  const revision = revisionOf(object);
  if (binding === undefined || typeof binding.sender !== "string" || typeof revision !== "number") return null;
  if (aad !== encodeBinding(object.id, revision, binding.sender)) return null;
  return listPossibleSenders(object).includes(binding.sender) ? { sender: binding.sender, revision } : null;
}

/** The owner; for a project also platforms with an editable grant in it, live or not: that the reader judges. */
function listPossibleSenders(object: Readonly<JsonObject>): readonly unknown[] {
  const grants = typesOf(object).includes("hf:Project") ? object["hf:grants"] : [];
  const editors = (Array.isArray(grants) ? (grants as unknown[]) : [])
    .filter(isJsonObject)
    .filter((grant) => grant.mode === "editable")
    .map((grant) => grant.platform);
  return [object.attributedTo, ...editors];
}

function isEphemeralKey(value: unknown): boolean {
  const jwk = parsePublicJwk(value, suite.encryption.crv);
  return jwk !== null && !isWeakKey(jwk);
}

function hasMembers(value: unknown, names: readonly string[]): value is JsonObject {
  return isJsonObject(value) && Object.keys(value).sort().join() === names.join();
}
