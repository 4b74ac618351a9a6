/** Requests written and signed before the clock runs: what is measured is the server that judges them. */
import type { KeyObject } from "node:crypto";
import { signRequest } from "../src/signatures/sign.ts";

export interface Signer {
  readonly actor: string;
  readonly key: "rsa" | "ed25519";
  readonly privateKey: KeyObject;
}

/** Octets of a POST, signed as a Concordat node signs: RSA in draft-cavage, Ed25519 in RFC 9421. */
export async function writeSigned(url: string, json: unknown, { actor, key, privateKey }: Signer): Promise<Uint8Array> {
  const body = Buffer.from(JSON.stringify(json));
  const headers = await signRequest({
    form: key === "rsa" ? "draft-cavage" : "rfc9421",
    method: "POST",
    url,
    headers: { "content-type": "application/activity+json" },
    body,
    keyId: `${actor}#${key === "rsa" ? "main-key" : "ed25519-key"}`,
    privateKey,
    now: new Date(),
  });
  const lines = Object.entries({ ...headers, "content-length": String(body.length) });
  const head = [`POST ${new URL(url).pathname} HTTP/1.1`, ...lines.map(([name, value]) => `${name}: ${value}`)];
  return Buffer.concat([Buffer.from(`${head.join("\r\n")}\r\n\r\n`, "latin1"), body]);
}
