/**
 * draft-cavage-http-signatures-12, read and written with http-signature. Its parser takes duplicate parameters, any
 * base64, and loses a number at the end; so a scan of ours comes first and hands it a clean copy. Its own clock and
 * algorithm checks are switched off: the policy judges those.
 */
import type { KeyObject } from "node:crypto";
import httpSignature from "http-signature";
import { Problem } from "../errors.ts";
import { decodeBase64 } from "./base64.ts";
import { signText } from "./cryptography.ts";
import { type NoSignature, noSignature, type ParsedSignature } from "./parsed-signature.ts";
import type { HttpRequest } from "./request.ts";

/** A name, then a quoted string without escapes or an integer, then a comma or the end. */
const parameter = /[ \t]*([A-Za-z]+)=(?:"([^"\\]*)"|(\d{1,15}))[ \t]*(?:,|$)/y;
const quoted = new Set(["keyId", "algorithm", "headers", "signature", "opaque"]);
const numbers = new Set(["created", "expires"]);

/** @throws {Problem} `malformed_signature` */
export function parseDraftCavage(request: HttpRequest, value: string): ParsedSignature | NoSignature {
  const parameters = scanParameters(value);
  const signature = decodeBase64(parameters.get("signature") ?? "");
  if (!signature) throw malformed("The signature is not canonical base64.");
  const names = (parameters.get("headers") ?? "(created)").toLowerCase().split(" ");
  if (names.includes("")) throw malformed("The list of covered headers has an empty item.");
  const keyId = parameters.get("keyId");
  if (!keyId) return noSignature("signature_key", "The signature names no keyId.");

  const common = {
    form: "draft-cavage",
    keyId,
    algorithm: parameters.get("algorithm") ?? null,
    components: names,
    created: readSeconds(parameters.get("created")),
    expires: readSeconds(parameters.get("expires")),
    signature,
  } as const;
  const signed = buildSigned(request, common);
  // The host is covered as a header, so the text is the same at any origin.
  return { ...common, writeSigned: signed === null ? null : () => signed };
}

/** Parameters by name, each once. @throws {Problem} `malformed_signature` */
function scanParameters(value: string): ReadonlyMap<string, string> {
  const parameters = new Map<string, string>();
  parameter.lastIndex = 0;
  let end = 0;
  while (end < value.length) {
    const [whole, name = "", text, digits] = parameter.exec(value) ?? [];
    if (whole === undefined) throw malformed('A parameter is not of the form name="text" or name=number.');
    if (parameters.has(name)) throw malformed("A parameter stands twice.");
    if ((quoted.has(name) && text === undefined) || (numbers.has(name) && digits === undefined)) {
      throw malformed("A parameter has a value of the wrong kind.");
    }
    parameters.set(name, text ?? digits ?? "");
    end = parameter.lastIndex;
  }
  if (parameters.size === 0 || value.endsWith(",")) throw malformed("The Signature header ends too early.");
  return parameters;
}

function readSeconds(text: string | undefined): number | null {
  return text === undefined ? null : Number(text);
}

/** The text that is signed, by http-signature; null where a covered component is unknown or not in the request. */
function buildSigned(request: HttpRequest, parsed: Omit<ParsedSignature, "writeSigned">): string | null {
  const headers: Record<string, string> = Object.create(null);
  for (const [line, value] of request.headers) {
    const name = line.toLowerCase();
    headers[name] = headers[name] === undefined ? value.trim() : `${headers[name]}, ${value.trim()}`;
  }
  const present = (name: string) => {
    if (!name.startsWith("(")) return headers[name] !== undefined;
    if (name === "(created)") return parsed.created !== null;
    return name === "(expires)" ? parsed.expires !== null : name === "(request-target)";
  };
  if (!parsed.components.every(present) || parsed.components.includes("request-line")) return null;

  const times = [
    ...(parsed.created === null ? [] : [`created=${parsed.created}`]),
    ...(parsed.expires === null ? [] : [`expires=${parsed.expires}`]),
  ];
  // (algorithm) cannot be covered here, so any algorithm that the parser knows leaves the text as it is.
  const copy = [
    `keyId="${parsed.keyId}"`,
    'algorithm="rsa-sha256"',
    ...times,
    `headers="${parsed.components.join(" ")}"`,
    `signature="${Buffer.from(parsed.signature).toString("base64")}"`,
  ];
  // A covered `signature` header cannot be: it would hold itself.
  if (parsed.components.includes("signature")) return null;
  headers.signature = copy.join(",");
  return httpSignature.parseRequest(
    { method: request.method, url: request.target, headers },
    { authorizationHeaderName: "signature", clockSkew: Number.MAX_SAFE_INTEGER, headers: [], strict: true },
  ).signingString;
}

function malformed(detail: string): Problem {
  return new Problem("malformed_signature", detail);
}

/** The value of a `Signature` header over the target and `covered`, by an RSA key, off the event loop. */
export async function buildDraftCavage(input: {
  readonly method: string;
  readonly target: string;
  readonly covered: readonly (readonly [name: string, value: string])[];
  readonly keyId: string;
  readonly privateKey: KeyObject;
}): Promise<string> {
  const { method, target, covered, keyId, privateKey } = input;
  const signer = httpSignature.createSigner({
    sign(data, callback) {
      signText(data, privateKey).then(
        (signature) => {
          callback(null, { keyId, algorithm: "rsa-sha256", signature: Buffer.from(signature).toString("base64") });
        },
        (error: Error) => callback(error),
      );
    },
  });
  signer.writeTarget(method, target);
  for (const [name, value] of covered) signer.writeHeader(name, value);
  return await new Promise((resolve, reject) => {
    signer.sign((error, authorization) => {
      if (error || authorization === undefined) reject(error ?? new Error("http-signature gave no signature"));
      else resolve(authorization.replace(/^Signature /, ""));
    });
  });
}
