/** Signing what this node sends (docs/protocol.md, "Signatures"). Signed fresh for every attempt. */
import type { KeyObject } from "node:crypto";
import { digestHeader } from "./digest.ts";
import { buildDraftCavage } from "./draft-cavage.ts";

export interface OutgoingRequest {
  readonly form: "draft-cavage";
  readonly method: "GET" | "POST";
  /** Absolute, as it will be requested. */
  readonly url: string;
  /** Names in lower case; `content-type` is covered. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** Id of the key of the activity's actor; for batches and GET of the instance actor. */
  readonly keyId: string;
  /** RSA. */
  readonly privateKey: KeyObject;
  readonly now: Date;
}

/** The headers to send: those given, with `host`, `date`, for a body `digest`, and `signature`; names in lower case. */
export async function signRequest(request: OutgoingRequest): Promise<Record<string, string>> {
  const { method, body, keyId, privateKey } = request;
  if (privateKey.asymmetricKeyType !== "rsa") throw new TypeError("draft-cavage is signed with an RSA key");
  const url = new URL(request.url);
  const headers: Record<string, string> = {
    ...request.headers,
    host: url.host,
    date: request.now.toUTCString(),
    ...(body === undefined ? {} : { digest: digestHeader(body) }),
  };
  const covered = ["host", "date", "digest", ...(body === undefined ? [] : ["content-type"])].flatMap((name) => {
    const value = headers[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  const target = url.pathname + url.search;
  return { ...headers, signature: await buildDraftCavage({ method, target, covered, keyId, privateKey }) };
}
