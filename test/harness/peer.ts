/**
 * A remote instance as docs/protocol.md describes one, scripted by a test: its documents, its inbox, its keys, and
 * requests that are signed as the standard says or wrong in one chosen way, in either form.
 */
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { encodeMultikey, type PublicJwk, thumbprint } from "../../src/crypto/keys.ts";
import { signReceipt } from "../../src/crypto/receipts.ts";
import { digestJson } from "../../src/protocol/canonical-json.ts";
import { mintId } from "../../src/protocol/ids.ts";
import { type Knobs, sendDraftCavage } from "./draft-cavage.ts";
import { type MessageKnobs, sendMessage } from "./message-signature.ts";
import { findPeer, type TestNode } from "./node.ts";
import { makePlatformKeys, type PlatformKeys } from "./platform.ts";
import type { Json } from "./rest.ts";
import { until } from "./until.ts";
import type { Answer } from "./wire.ts";

/** What came to the scripted peer's inbox. */
export interface Arrival {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly activity: Json;
}

export interface ScriptedAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

export interface ScriptedPeer extends AsyncDisposable {
  readonly origin: string;
  readonly actor: string;
  readonly keyId: string;
  readonly rsa: KeyObject;
  readonly ed25519: KeyObject;
  /** Requests that came in, documents and inbox alike: `GET /actor`. */
  readonly requests: readonly string[];
  readonly arrivals: readonly Arrival[];
  /** Decides what the inbox answers; by default 202 with a receipt. */
  answerWith(answer: ((arrival: Arrival) => Promise<ScriptedAnswer> | ScriptedAnswer) | undefined): void;
  /** Decides what a batch is answered as a whole; by default 200 with what the inbox answers for each activity. */
  answerBatchesWith(answer: ((batch: readonly Json[]) => Promise<ScriptedAnswer> | ScriptedAnswer) | undefined): void;
  /** Changes the actor document that is served. */
  changeActor(change: (document: Json) => Json): void;
  /** A receipt for an activity as the protocol wants it, with members replaced. */
  receiptFor(activity: Json, to: string, members?: Json): Promise<string>;
  /** An activity of this instance: id, actor and protocol are filled in. */
  activity(members: Json): Json;
  /** Signs an activity as draft-cavage says and posts it to an inbox of `origin`. */
  post(origin: string, activity: unknown, knobs?: Knobs): Promise<Answer>;
  /** The same as RFC 9421 says; by the RSA key unless the keyid is the Ed25519 key's. */
  postMessage(origin: string, activity: unknown, knobs?: MessageKnobs): Promise<Answer>;
  /** Stops listening; a new call to `listen` opens the same port again. */
  close(): Promise<void>;
  listen(): Promise<void>;
}

const activityStreams = "https://www.w3.org/ns/activitystreams";

/**
 * Starts a scripted instance on a free port of loopback. `receipts: false` is a server that is no Concordat; with
 * `batches` it announces an inbox for them.
 */
export async function startPeer({ receipts = true, batches = false, rsaBits = 2048 } = {}): Promise<ScriptedPeer> {
  const rsa = generateKeyPairSync("rsa", { modulusLength: rsaBits });
  const ed25519 = generateKeyPairSync("ed25519");
  const edJwk = ed25519.publicKey.export({ format: "jwk" }) as unknown as PublicJwk;
  const requests: string[] = [];
  const arrivals: Arrival[] = [];
  let origin = "";
  let answer: ((arrival: Arrival) => Promise<ScriptedAnswer> | ScriptedAnswer) | undefined;
  let answerBatch: ((batch: readonly Json[]) => Promise<ScriptedAnswer> | ScriptedAnswer) | undefined;
  let changeActor = (document: Json): Json => document;

  const documentOf = (id: string, type: string, username: string): Json => ({
    "@context": [activityStreams, "https://w3id.org/security/v1", "https://w3id.org/security/multikey/v1"],
    id,
    type,
    preferredUsername: username,
    name: `Scripted ${username}`,
    inbox: `${id}/inbox`,
    outbox: `${id}/outbox`,
    endpoints: { sharedInbox: `${origin}/inbox`, ...(batches ? { "hf:batchInbox": `${origin}/batch-inbox` } : {}) },
    publicKey: {
      id: `${id}#main-key`,
      owner: id,
      publicKeyPem: rsa.publicKey.export({ format: "pem", type: "spki" }),
    },
    assertionMethod: [
      { id: `${id}#ed25519-key`, type: "Multikey", controller: id, publicKeyMultibase: encodeMultikey(edJwk) },
    ],
    ...(receipts ? { generator: { type: "Application", implements: [{ href: "urn:concordat:ns#receipts" }] } } : {}),
  });

  const receiptFor: ScriptedPeer["receiptFor"] = (activity, to, members = {}) => {
    const { d } = ed25519.privateKey.export({ format: "jwk" });
    const publicJwk = { kty: "OKP", crv: "Ed25519", x: edJwk.x } as const;
    const receipt = {
      iss: origin,
      to,
      activity: String(activity.id),
      digest: digestJson(activity),
      received: new Date().toISOString(),
      effect: "applied" as const,
      ...members,
    };
    return signReceipt(receipt, { kid: thumbprint(publicJwk), privateJwk: { ...publicJwk, d: String(d) } });
  };

  const answerDefault = async ({ activity }: Arrival): Promise<ScriptedAnswer> => {
    const to = new URL(String(activity.actor)).origin;
    return { status: 202, body: receipts ? { receipt: await receiptFor(activity, to) } : {} };
  };

  const answerEach = async (arrived: readonly Arrival[]): Promise<ScriptedAnswer> => {
    const results: Json[] = [];
    for (const arrival of arrived) {
      const { status, body } = await (answer ?? answerDefault)(arrival);
      results.push({ id: arrival.activity.id, status, ...(status < 300 ? (body as Json) : { problem: body }) });
    }
    return { status: 200, body: { results } };
  };

  let server: Server;
  const handle = async (path: string, method: string, headers: IncomingHttpHeaders, body: Buffer) => {
    if (method === "POST" && path.endsWith("/inbox")) {
      const arrival = { path, headers, body, activity: JSON.parse(body.toString()) as Json };
      arrivals.push(arrival);
      return await (answer ?? answerDefault)(arrival);
    }
    if (method === "POST" && path === "/batch-inbox") {
      const batch = JSON.parse(body.toString()) as Json[];
      const arrived = batch.map((activity) => ({ path, headers, body, activity }));
      arrivals.push(...arrived);
      return await (answerBatch?.(batch) ?? answerEach(arrived));
    }
    if (path === "/actor")
      return { status: 200, body: changeActor(documentOf(`${origin}/actor`, "Application", "scripted")) };
    const handle = /^\/platforms\/([^/]+)$/.exec(path)?.[1];
    if (handle) return { status: 200, body: documentOf(`${origin}${path}`, "Organization", handle) };
    return { status: 404, body: {} };
  };
  const listen = async (port: number) => {
    server = createServer((incoming, outgoing) => {
      const { url = "", method = "", headers } = incoming;
      requests.push(`${method} ${url}`);
      const chunks: Buffer[] = [];
      incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
      incoming.on("end", async () => {
        const result: ScriptedAnswer = await handle(url, method, headers, Buffer.concat(chunks));
        outgoing.writeHead(result.status, { "content-type": "application/activity+json", ...result.headers });
        outgoing.end(typeof result.body === "string" ? result.body : JSON.stringify(result.body ?? {}));
      });
    });
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    return (server.address() as AddressInfo).port;
  };
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  const port = await listen(0);
  origin = `http://127.0.0.1:${port}`;
  const actor = `${origin}/actor`;

  return {
    origin,
    actor,
    keyId: `${actor}#main-key`,
    rsa: rsa.privateKey,
    ed25519: ed25519.privateKey,
    requests,
    arrivals,
    answerWith(next) {
      answer = next;
    },
    answerBatchesWith(next) {
      answerBatch = next;
    },
    changeActor(change) {
      changeActor = change;
    },
    receiptFor,
    activity: (members) => ({
      "@context": [activityStreams, { hf: "urn:concordat:ns#" }],
      id: mintId(origin, "activities"),
      actor,
      "hf:protocol": 1,
      ...members,
    }),
    post: (to, activity, knobs = {}) => {
      const signing = { keyId: `${actor}#main-key`, privateKey: rsa.privateKey, ...knobs };
      return sendDraftCavage(to, Buffer.from(knobs.body ?? JSON.stringify(activity)), signing);
    },
    postMessage: (to, activity, knobs = {}) => {
      const keyId = knobs.keyId ?? `${actor}#ed25519-key`;
      const privateKey = keyId.endsWith("#ed25519-key") ? ed25519.privateKey : rsa.privateKey;
      return sendMessage(to, {
        body: Buffer.from(JSON.stringify(activity)),
        ...knobs,
        keyId,
        privateKey: knobs.privateKey ?? privateKey,
      });
    },
    close,
    async listen() {
      await listen(port);
    },
    [Symbol.asyncDispose]: close,
  };
}

/** Makes the scripted instance an approved peer of `node`: it asks, the administrator opens and approves. */
export async function approveScripted(node: TestNode, peer: ScriptedPeer): Promise<void> {
  const answer = await peer.post(node.origin, peer.activity({ type: "Follow", object: `${node.origin}/actor` }));
  if (answer.status !== 202) throw new Error(`the Follow was answered ${answer.status} ${JSON.stringify(answer.body)}`);
  const pending = await findPeer(node, peer.origin);
  await node.admin.ok("POST", `/peers/${String(pending?.id)}/open`, {});
  await node.admin.ok("POST", `/peers/${String(pending?.id)}/approve`, {});
  await until("the Accept is delivered", () => peer.arrivals.some(({ activity }) => activity.type === "Accept"));
}

/** Tells `node` of a platform of its approved peer, as the peer does when one joins. */
export async function introduceScripted(node: TestNode, peer: ScriptedPeer, handle: string): Promise<PlatformKeys> {
  const keys = await makePlatformKeys(`${peer.origin}/platforms/${handle}`);
  const { uri, membership, bundle } = keys;
  const entry = peer.activity({
    type: "Update",
    actor: uri,
    object: { id: uri, type: "Organization", preferredUsername: handle, name: `Scripted ${handle}` },
    "hf:bundles": [{ actor: uri, membership, bundles: [bundle] }],
  });
  const answer = await peer.post(node.origin, entry, { keyId: `${uri}#main-key` });
  if (answer.status !== 202) throw new Error(`the Update was answered ${answer.status} ${JSON.stringify(answer.body)}`);
  return keys;
}
