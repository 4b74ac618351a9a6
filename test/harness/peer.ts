/**
 * A remote instance as docs/protocol.md describes one, scripted by a test: its documents, its inbox, its keys, and
 * requests that are signed as the standard says or wrong in one chosen way. HTTP and draft-cavage are written afresh
 * here, with node:http and node:crypto alone, so that nothing is judged by the code that made it.
 */
import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { createServer, type IncomingHttpHeaders, request, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { encodeMultikey, type PublicJwk, thumbprint } from "../../src/crypto/keys.ts";
import { signReceipt } from "../../src/crypto/receipts.ts";
import { digestJson } from "../../src/protocol/canonical-json.ts";
import { mintId } from "../../src/protocol/ids.ts";
import { findPeer, type TestNode } from "./node.ts";
import type { Json } from "./rest.ts";
import { until } from "./until.ts";

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
  /** Changes the actor document that is served. */
  changeActor(change: (document: Json) => Json): void;
  /** A receipt for an activity as the protocol wants it, with members replaced. */
  receiptFor(activity: Json, to: string, members?: Json): Promise<string>;
  /** An activity of this instance: id, actor and protocol are filled in. */
  activity(members: Json): Json;
  /** Signs an activity and posts it to an inbox of `origin`. */
  post(origin: string, activity: unknown, knobs?: Knobs): Promise<Answer>;
  /** Stops listening; a new call to `listen` opens the same port again. */
  close(): Promise<void>;
  listen(): Promise<void>;
}

/** In which ways a request deviates from what the standard says. */
export interface Knobs {
  readonly path?: string;
  readonly method?: string;
  /** The body as octets; the activity's JSON when absent. */
  readonly body?: string | Buffer;
  readonly mediaType?: string;
  readonly keyId?: string;
  readonly privateKey?: KeyObject;
  /** `algorithm` parameter; null leaves it out. */
  readonly algorithm?: string | null;
  /** Covered components, in order. */
  readonly covered?: readonly string[];
  readonly date?: Date | string;
  /** `Digest` header; null leaves it out. */
  readonly digest?: string | null;
  /** What stands in the signing string for the target, when not the path that is posted to. */
  readonly signedTarget?: string;
  readonly host?: string;
  /** What stands in the signing string for the host, when not the `Host` header. */
  readonly signedHost?: string;
  /** Further parameters in the Signature header: `created=1,expires=2`. */
  readonly parameters?: string;
  /** Changes the Signature header at the end; null leaves it out. */
  readonly signature?: (header: string) => string | null;
  /** Further header lines, also repeated ones; covered ones are signed with their value here. */
  readonly headers?: readonly (readonly [string, string])[];
  /** Changes the body after it was signed. */
  readonly tamper?: (body: Buffer) => Buffer;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Json;
}

const activityStreams = "https://www.w3.org/ns/activitystreams";

/** Starts a scripted instance on a free port of loopback. `receipts: false` is a server that is no Concordat. */
export async function startPeer({ receipts = true, rsaBits = 2048 } = {}): Promise<ScriptedPeer> {
  const rsa = generateKeyPairSync("rsa", { modulusLength: rsaBits });
  const ed25519 = generateKeyPairSync("ed25519");
  const edJwk = ed25519.publicKey.export({ format: "jwk" }) as unknown as PublicJwk;
  const requests: string[] = [];
  const arrivals: Arrival[] = [];
  let origin = "";
  let answer: ((arrival: Arrival) => Promise<ScriptedAnswer> | ScriptedAnswer) | undefined;
  let changeActor = (document: Json): Json => document;

  const documentOf = (id: string, type: string, username: string): Json => ({
    "@context": [activityStreams, "https://w3id.org/security/v1", "https://w3id.org/security/multikey/v1"],
    id,
    type,
    preferredUsername: username,
    name: `Scripted ${username}`,
    inbox: `${id}/inbox`,
    outbox: `${id}/outbox`,
    endpoints: { sharedInbox: `${origin}/inbox` },
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

  let server: Server;
  const handle = async (path: string, method: string, headers: IncomingHttpHeaders, body: Buffer) => {
    if (method === "POST" && path.endsWith("/inbox")) {
      const arrival = { path, headers, body, activity: JSON.parse(body.toString()) as Json };
      arrivals.push(arrival);
      return await (answer ?? answerDefault)(arrival);
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
      return sendSigned(to, Buffer.from(knobs.body ?? JSON.stringify(activity)), signing);
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

const defaultCovered = ["(request-target)", "host", "date", "digest", "content-type"];

interface Signing extends Knobs {
  readonly keyId: string;
  readonly privateKey: KeyObject;
}

/** Signs per draft-cavage-http-signatures-12, section 2, and sends what the knobs make of it. */
async function sendSigned(origin: string, body: Buffer, signing: Signing): Promise<Answer> {
  const {
    path = "/inbox",
    method = "POST",
    mediaType = "application/activity+json",
    covered = defaultCovered,
  } = signing;
  const date =
    signing.date instanceof Date || signing.date === undefined
      ? (signing.date ?? new Date()).toUTCString()
      : signing.date;
  const digest =
    signing.digest === undefined ? `SHA-256=${createHash("sha256").update(body).digest("base64")}` : signing.digest;
  const lines: (readonly [string, string])[] = [
    ["Host", signing.host ?? new URL(origin).host],
    ["Date", date],
    ["Content-Type", mediaType],
    ...(digest === null ? [] : [["Digest", digest] as const]),
    ...(signing.headers ?? []),
  ];
  const parameters = new Map((signing.parameters ?? "").split(",").map((item) => item.split("=") as [string, string]));
  const componentOf = (name: string): string => {
    if (name === "(request-target)") return `${method.toLowerCase()} ${signing.signedTarget ?? path}`;
    if (name === "host" && signing.signedHost !== undefined) return signing.signedHost;
    if (name.startsWith("(")) return parameters.get(name.slice(1, -1)) ?? "";
    return lines
      .filter(([line]) => line.toLowerCase() === name)
      .map(([, value]) => value.trim())
      .join(", ");
  };
  const text = covered.map((name) => `${name}: ${componentOf(name)}`).join("\n");
  const rsa = signing.privateKey.asymmetricKeyType === "rsa";
  const octets = sign(rsa ? "sha256" : null, Buffer.from(text), signing.privateKey);
  const algorithm = signing.algorithm === undefined ? (rsa ? "rsa-sha256" : "hs2019") : signing.algorithm;
  const header = [
    `keyId="${signing.keyId}"`,
    ...(algorithm === null ? [] : [`algorithm="${algorithm}"`]),
    ...(signing.parameters === undefined ? [] : [signing.parameters]),
    `headers="${covered.join(" ")}"`,
    `signature="${octets.toString("base64")}"`,
  ].join(",");
  const signature = signing.signature === undefined ? header : signing.signature(header);
  const sent = signing.tamper === undefined ? body : signing.tamper(body);
  return await sendRequest(origin, {
    method,
    path,
    headers: [...lines, ...(signature === null ? [] : [["Signature", signature] as const])],
    body: sent,
  });
}

/** One HTTP request with exactly these header lines, and Content-Length. */
export async function sendRequest(
  origin: string,
  sent: {
    readonly method: string;
    readonly path: string;
    readonly headers: readonly (readonly [string, string])[];
    readonly body?: Buffer;
  },
): Promise<Answer> {
  const { hostname, port, host } = new URL(origin);
  const { method, path, body = Buffer.alloc(0) } = sent;
  const lines = sent.headers.some(([name]) => name.toLowerCase() === "host")
    ? sent.headers
    : [["Host", host] as const, ...sent.headers];
  const bounded = [...lines, ["Content-Length", String(body.length)] as const, ["Connection", "close"] as const];
  return await new Promise((resolve, reject) => {
    const outgoing = request({
      hostname,
      port,
      method,
      path,
      headers: bounded.flat() as never,
      setHost: false,
      agent: false,
    });
    outgoing.on("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const text = Buffer.concat(chunks).toString();
        const isJson = /json/.test(response.headers["content-type"] ?? "");
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: isJson ? (JSON.parse(text) as Json) : {},
        });
      });
    });
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}

/** Sends these octets over a socket of its own and gives everything that comes back until the other side closes. */
export async function sendRaw(origin: string, octets: string | Buffer, waitMilliseconds = 3_000): Promise<string> {
  const { hostname, port } = new URL(origin);
  return await new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname);
    const chunks: Buffer[] = [];
    const end = () => {
      clearTimeout(timer);
      socket.destroy();
      resolve(Buffer.concat(chunks).toString());
    };
    const timer = setTimeout(end, waitMilliseconds);
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.on("close", end);
    socket.on("error", (error: NodeJS.ErrnoException) => (error.code === "ECONNRESET" ? end() : reject(error)));
    socket.write(octets);
  });
}
