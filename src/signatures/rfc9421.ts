/**
 * HTTP message signatures (RFC 9421), parsed and made. Only components without parameters can be covered: parameters
 * change what a name means, and none of them is needed between nodes.
 */
import type { KeyObject } from "node:crypto";
import { type BareItem, type InnerList, isInnerList, serializeInnerList, serializeItem } from "structured-headers";
import { Problem } from "../errors.ts";
import { signText } from "./cryptography.ts";
import { type NoSignature, noSignature, type ParsedSignature } from "./parsed-signature.ts";
import { type HttpRequest, readHeaderLines } from "./request.ts";
import { readByteSequence, readDictionary } from "./structured-fields.ts";

/** The names of the algorithms of section 6.2 that are accepted, by the type of the key. */
export const messageAlgorithms = { rsa: "rsa-v1_5-sha256", ed25519: "ed25519" } as const;

/** Parameters of section 2.3 and what their values are; others are covered, and otherwise ignored. */
const parameterTypes: ReadonlyMap<string, "number" | "string"> = new Map([
  ["created", "number"],
  ["expires", "number"],
  ["keyid", "string"],
  ["alg", "string"],
  ["nonce", "string"],
  ["tag", "string"],
]);

/** Reads the one signature of a request that has a Signature-Input. @throws {Problem} `malformed_signature` */
export function parseMessageSignature(request: HttpRequest): ParsedSignature | NoSignature {
  const values = readHeaderLines(request, "signature");
  // The Signature of draft-cavage has a name with a capital letter, so it is never a dictionary.
  if (values.some((value) => /(?:^|,)[ \t]*(?:keyId|signature)="/.test(value))) {
    return noSignature("signature_multiple", "The request is signed in two forms.");
  }
  const input = readField(readHeaderLines(request, "signature-input"));
  const signatures = readField(values);
  if (input === "twice" || signatures === "twice") {
    return noSignature("signature_multiple", "A label stands twice.");
  }
  if (input.size === 0 || signatures.size === 0) {
    return noSignature("signature_missing", "Signature-Input and Signature need each other.");
  }
  const [label = ""] = input.keys();
  const value = signatures.get(label);
  if (input.size > 1 || signatures.size > 1 || value === undefined) {
    return noSignature("signature_multiple", "There must be exactly one label, the same in both headers.");
  }
  const list = input.get(label);
  if (list === undefined || !isInnerList(list)) throw malformed("Signature-Input is not a list of components.");
  const signature = readByteSequence(isInnerList(value) ? undefined : value);
  if (!signature) throw malformed("Signature is not a byte sequence.");
  return readSignature(request, list, signature);
}

function readField(lines: readonly string[]) {
  const field = readDictionary(lines);
  if (field.read) return field.members;
  if (field.reason === "member_twice") return "twice";
  throw malformed("Signature-Input and Signature are structured fields (RFC 9651), nothing in them twice.");
}

function readSignature(request: HttpRequest, list: InnerList, signature: Uint8Array): ParsedSignature | NoSignature {
  const [items, parameters] = list;
  for (const [name, value] of parameters) {
    const type = parameterTypes.get(name);
    if (type && (typeof value !== type || (type === "number" && !Number.isInteger(value)))) {
      throw malformed("A parameter has a value of the wrong kind.");
    }
  }
  if (!items.every(([name]) => typeof name === "string")) throw malformed("A component is not a string.");
  const keyId = readText(parameters.get("keyid"));
  if (!keyId) return noSignature("signature_key", "The signature names no keyid.");
  return {
    form: "rfc9421",
    keyId,
    algorithm: readText(parameters.get("alg")),
    components: items.map((item) => (item[1].size === 0 ? String(item[0]) : serializeItem(item))),
    created: readSeconds(parameters.get("created")),
    expires: readSeconds(parameters.get("expires")),
    signature,
    writeSigned: prepareSignatureBase(request, list),
  };
}

function readText(value: BareItem | undefined): string | null {
  return typeof value === "string" ? value : null;
}

function readSeconds(value: BareItem | undefined): number | null {
  return typeof value === "number" ? value : null;
}

/** Gives the signature base (section 2.5) at an origin; null when a component has parameters or is not in the request. */
function prepareSignatureBase(request: HttpRequest, list: InnerList): ((origin: string) => string) | null {
  const lines: ((origin: string) => string)[] = [];
  for (const item of list[0]) {
    const value = item[1].size === 0 ? prepareComponent(request, String(item[0])) : null;
    if (value === null) return null;
    const name = serializeItem(item);
    lines.push((origin) => `${name}: ${value(origin)}`);
  }
  lines.push(() => `"@signature-params": ${serializeInnerList(list)}`);
  return (origin) => lines.map((line) => line(origin)).join("\n");
}

/**
 * Sections 2.1 and 2.2. Scheme and authority are those of the canonical origin: behind a proxy the connection knows
 * neither, and what was signed for another host must not verify here.
 */
function prepareComponent(request: HttpRequest, name: string): ((origin: string) => string) | null {
  const { method, target } = request;
  const queryAt = target.indexOf("?");
  switch (name) {
    case "@method":
      return () => method;
    case "@target-uri":
      return (origin) => origin + target;
    case "@authority":
      return (origin) => new URL(origin).host;
    case "@scheme":
      return (origin) => new URL(origin).protocol.slice(0, -1);
    case "@request-target":
      return () => target;
    case "@path":
      return () => (queryAt < 0 ? target : target.slice(0, queryAt)) || "/";
    case "@query":
      return () => (queryAt < 0 ? "?" : target.slice(queryAt));
    default: {
      if (name.startsWith("@")) return null;
      const lines = readHeaderLines(request, name);
      return lines.length === 0 ? null : () => lines.join(", ");
    }
  }
}

function malformed(detail: string): Problem {
  return new Problem("malformed_signature", detail);
}

/** Seconds for which a signature of this node holds; the window of the policy ends as soon. */
const lifetime = 300;

/** The values of `Signature-Input` and `Signature` over those components of the request, under the label `sig1`. */
export async function buildMessageSignature(input: {
  readonly request: HttpRequest;
  readonly origin: string;
  readonly components: readonly string[];
  readonly keyId: string;
  /** RSA or Ed25519. */
  readonly privateKey: KeyObject;
  readonly now: Date;
}): Promise<{ readonly "signature-input": string; readonly signature: string }> {
  const { request, origin, components, keyId, privateKey, now } = input;
  const type = privateKey.asymmetricKeyType;
  if (type !== "rsa" && type !== "ed25519") throw new TypeError("RFC 9421 is signed with an RSA or Ed25519 key");
  const created = Math.floor(now.getTime() / 1000);
  const list: InnerList = [
    components.map((name) => [name, new Map()]),
    new Map<string, BareItem>([
      ["created", created],
      ["expires", created + lifetime],
      ["keyid", keyId],
      ["alg", messageAlgorithms[type]],
    ]),
  ];
  const base = prepareSignatureBase(request, list);
  if (!base) throw new TypeError("RFC 9421 can only cover what the request has");
  const signature = await signText(base(origin), privateKey);
  return {
    "signature-input": `sig1=${serializeInnerList(list)}`,
    signature: `sig1=:${Buffer.from(signature).toString("base64")}:`,
  };
}
