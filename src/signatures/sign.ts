/** Signing what this node sends (docs/protocol.md, "Signatures"). Signed fresh for every attempt. */
import type { KeyObject } from "node:crypto";
import { digestHeader, digestHeaders } from "./digest.ts";
import { buildDraftCavage } from "./draft-cavage.ts";
import type { SignatureForm } from "./parsed-signature.ts";
import { buildMessageSignature } from "./rfc9421.ts";

export interface OutgoingRequest {
  readonly form: SignatureForm;
  readonly method: "GET" | "POST";
  /** Absolute, as it will be requested. */
  readonly url: string;
  /** Names in lower case; `content-type` is covered. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** Id of the key of the activity's actor; for batches and GET of the instance actor. */
  readonly keyId: string;
  /** RSA; for RFC 9421 RSA or Ed25519. */
  readonly privateKey: KeyObject;
  readonly now: Date;
}

/**
 * The headers to send: those given, with `host`, `date`, for a body `digest` or `content-digest`, and `signature`, with
 * RFC 9421 `signature-input`; names in lower case.
 */
export async function signRequest(request: OutgoingRequest): Promise<Record<string, string>> {
  const { form, method, body, keyId, privateKey, now } = request;
  const url = new URL(request.url);
  const target = url.pathname + url.search;
  const headers: Record<string, string> = {
    ...request.headers,
    host: url.host,
    date: now.toUTCString(),
    ...(body === undefined ? {} : { [digestHeaders[form]]: digestHeader(form, body) }),
  };
  if (form === "rfc9421") {
    const sent = body === undefined ? ["date"] : ["content-digest", "content-type", "date"];
    const components = ["@method", "@target-uri", ...sent.filter((name) => headers[name] !== undefined)];
    const signed = { method, target, headers: Object.entries(headers) };
    const { origin } = url;
    return {
      ...headers,
      ...(await buildMessageSignature({ request: signed, origin, components, keyId, privateKey, now })),
    };
  }
  if (privateKey.asymmetricKeyType !== "rsa") throw new TypeError("draft-cavage is signed with an RSA key");
  const covered = ["host", "date", ...(body === undefined ? [] : ["digest", "content-type"])].flatMap((name) => {
    const value = headers[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return { ...headers, signature: await buildDraftCavage({ method, target, covered, keyId, privateKey }) };
}
