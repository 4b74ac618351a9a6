/**
 * The other side of the outbox, in a process of its own: as many instances as there are addresses of loopback, all with
 * the same keys, which answer each activity with a receipt, as cheaply as a valid one can be made. It is told the keys,
 * says its port, and whenever it is asked what has come.
 */
import { createHash, createPrivateKey, sign } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { encodeMultikey, type PublicJwk, thumbprint } from "../src/crypto/keys.ts";
import { canonicalJson } from "../src/protocol/canonical-json.ts";
import { jwsTypes } from "../src/protocol/suite.ts";

export interface ReceiverKeys {
  /** PEM, private. */
  readonly ed25519: string;
  /** PEM, public. */
  readonly rsa: string;
}

/** When activities came, milliseconds since 1970; what belongs to the peerings is not among them. */
export interface Arrivals {
  readonly count: number;
  /** Of the one after `from`, and of the last. */
  readonly first: number;
  readonly last: number;
}

process.once("message", (keys: ReceiverKeys) => {
  const privateKey = createPrivateKey(keys.ed25519);
  const { d: _, ...publicJwk } = privateKey.export({ format: "jwk" }) as unknown as PublicJwk & { d: string };
  const header = base64url(JSON.stringify({ alg: "EdDSA", typ: jwsTypes.receipt, kid: thumbprint(publicJwk) }));
  const times: number[] = [];

  const documentOf = (origin: string) => ({
    "@context": ["https://www.w3.org/ns/activitystreams", "https://w3id.org/security/v1"],
    id: `${origin}/actor`,
    type: "Application",
    preferredUsername: "receiver",
    inbox: `${origin}/actor/inbox`,
    outbox: `${origin}/actor/outbox`,
    endpoints: { sharedInbox: `${origin}/inbox` },
    publicKey: { id: `${origin}/actor#main-key`, owner: `${origin}/actor`, publicKeyPem: keys.rsa },
    assertionMethod: [
      {
        id: `${origin}/actor#ed25519-key`,
        type: "Multikey",
        controller: `${origin}/actor`,
        publicKeyMultibase: encodeMultikey(publicJwk),
      },
    ],
    generator: { type: "Application", implements: [{ href: "urn:concordat:ns#receipts" }] },
  });
  const receiptOf = (origin: string, body: string): string => {
    const activity = JSON.parse(body) as { readonly id: string; readonly actor: string; readonly type: string };
    if (activity.type === "Like") times.push(Date.now());
    const payload = base64url(
      JSON.stringify({
        iss: origin,
        to: new URL(activity.actor).origin,
        activity: activity.id,
        digest: createHash("sha256").update(canonicalJson(activity)).digest("base64url"),
        received: new Date().toISOString(),
        effect: "applied",
      }),
    );
    const signed = `${header}.${payload}`;
    return `${signed}.${sign(null, Buffer.from(signed), privateKey).toString("base64url")}`;
  };
  const answer = async (incoming: IncomingMessage, outgoing: ServerResponse) => {
    const origin = `http://${incoming.headers.host}`;
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const isPost = incoming.method === "POST";
    const body = isPost ? { receipt: receiptOf(origin, Buffer.concat(chunks).toString()) } : documentOf(origin);
    outgoing.writeHead(isPost ? 202 : 200, { "content-type": "application/activity+json" });
    outgoing.end(JSON.stringify(body));
  };

  const server = createServer((incoming, outgoing) => void answer(incoming, outgoing));
  server.listen(0, "0.0.0.0", () => process.send?.((server.address() as AddressInfo).port));
  process.on("message", ({ from }: { readonly from: number }) => {
    const arrivals: Arrivals = {
      count: times.length,
      first: times[from] ?? Number.NaN,
      last: times.at(-1) ?? Number.NaN,
    };
    process.send?.(arrivals);
  });
});

const base64url = (text: string) => Buffer.from(text).toString("base64url");
