import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { encodeMultikey, fingerprint, fingerprintOfThumbprint } from "../../src/crypto/keys.ts";
import { Problem } from "../../src/errors.ts";
import { instanceActor } from "../../src/identity/actor-documents.ts";
import { createGuardedFetch, type GuardedFetch } from "../../src/identity/guarded-fetch.ts";
import { loadNodeKeys, type NodeKeys } from "../../src/identity/node-keys.ts";
import { fetchInstanceActor } from "../../src/identity/remote-actors.ts";
import { suite } from "../harness/suite.ts";

const test = suite("remote actors");
let keys: NodeKeys;
let fetcher: GuardedFetch;
let server: Server;
let origin = "";
/** What the remote instance answers in the test that runs. */
let answer: RequestListener = (_request, response) => response.end();

test.before(async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "concordat-remote-"));
  keys = await loadNodeKeys({ dataDir });
  await rm(dataDir, { recursive: true, force: true });
  fetcher = createGuardedFetch({ allowPrivateAddresses: true, allowNetworks: [] });
  server = createServer((request, response) => answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
test.after(async () => {
  await fetcher.close();
  await new Promise((resolve) => server.close(resolve));
});

type Document = Record<string, unknown>;

const document = (): Document => ({ ...instanceActor({ origin, keys, name: "Ouest" }) });
const without = (member: string): Document => {
  const { [member]: _left, ...rest } = document();
  return rest;
};

function serve(body: unknown, status = 200, headers: Record<string, string> = {}): void {
  answer = (_request, response) => {
    response.writeHead(status, { "content-type": "application/activity+json", ...headers });
    response.end(typeof body === "string" || body instanceof Uint8Array ? body : JSON.stringify(body));
  };
}

async function problemOf(act: Promise<unknown>): Promise<Problem> {
  try {
    await act;
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
  throw new Error("the actor was accepted");
}

async function assertRefused(body: unknown, detail: RegExp, code = "actor_refused"): Promise<void> {
  serve(body);
  const problem = await problemOf(fetchInstanceActor(fetcher, origin));
  assert.is(problem.code, code, `${detail}: ${problem.message}`);
  assert.match(problem.message, detail);
}

test("asks for the instance actor, and gives what is pinned and shown of it", async () => {
  const asked: unknown[] = [];
  answer = (request, response) => {
    asked.push([request.method, request.url, request.headers.accept]);
    response.end(JSON.stringify(document()));
  };
  assert.equal(await fetchInstanceActor(fetcher, origin), {
    actorUri: `${origin}/actor`,
    inbox: `${origin}/inbox`,
    name: "Ouest",
    software: null,
    keys: [
      { id: "#main-key", publicKeyPem: keys.rsa.publicKeyPem },
      { id: "#ed25519-key", publicKeyMultibase: keys.ed25519.multibase },
    ],
    fingerprint: fingerprint(keys.ed25519.publicJwk),
    receipts: true,
    signatureForm: "rfc9421",
    batchInbox: `${origin}/batch-inbox`,
  });
  assert.equal(asked, [["GET", "/actor", "application/activity+json"]]);
});

test("takes a server that is no Concordat: RSA alone, no shared inbox, members that it does not know", async () => {
  serve({
    id: `${origin}/actor`,
    type: "Service",
    preferredUsername: "mastodon",
    // It shows nothing.
    name: " \u200b",
    inbox: `${origin}/actor/inbox`,
    publicKey: { id: `${origin}/actor#main-key`, owner: `${origin}/actor`, publicKeyPem: keys.rsa.publicKeyPem },
    assertionMethod: ["https://elsewhere.example/key", { type: "JsonWebKey", id: "x" }],
    generator: { implements: [{ href: "urn:concordat:ns#receipts" }] },
    "toot:featured": { anything: [1] },
  });
  const actor = await fetchInstanceActor(fetcher, origin);
  assert.is(actor.inbox, `${origin}/actor/inbox`);
  assert.is(actor.name, "mastodon");
  assert.equal(actor.keys, [{ id: "#main-key", publicKeyPem: keys.rsa.publicKeyPem }]);
  assert.is(actor.fingerprint, fingerprintOfThumbprint(keys.rsa.kid));
  // It announces receipts, but has no key that could verify one.
  assert.is(actor.receipts, false);
  assert.is(actor.signatureForm, "draft-cavage");
});

test("expects no receipts from a server that does not announce them, and signs for it as draft-cavage", async () => {
  serve(without("generator"));
  const actor = await fetchInstanceActor(fetcher, origin);
  assert.is(actor.receipts, false);
  assert.is(actor.signatureForm, "draft-cavage");
});

test("refuses what is not strict JSON or not an actor", async () => {
  const text = JSON.stringify(document());
  await assertRefused("<html>", /strict JSON/);
  await assertRefused(text.replace("{", '{"id":"x",'), /strict JSON/);
  await assertRefused(Buffer.concat([Buffer.from("\ufeff"), Buffer.from(text)]), /strict JSON/);
  await assertRefused("[]", /refused/);
  for (const member of ["id", "inbox", "publicKey"]) await assertRefused(without(member), new RegExp(member));
  await assertRefused({ ...document(), name: "a\u202eb" }, /strict JSON|name/);
});

test("refuses an actor that is not the one that was asked for", async () => {
  await assertRefused({ ...document(), id: `${origin}/platforms/chu` }, /not the address/);
  await assertRefused({ ...document(), id: "https://ouest.example/actor" }, /not the address/);
  await assertRefused({ ...document(), id: `${origin}/actor/../actor` }, /id/);
});

test("refuses URLs on another origin, or on another port", async () => {
  const otherPort = `${origin.slice(0, -1)}${origin.endsWith("1") ? "2" : "1"}`;
  for (const elsewhere of ["https://internal.example", otherPort]) {
    await assertRefused({ ...document(), inbox: `${elsewhere}/inbox` }, /another origin/);
    await assertRefused({ ...document(), outbox: `${elsewhere}/outbox` }, /another origin/);
    await assertRefused({ ...document(), endpoints: { sharedInbox: `${elsewhere}/inbox` } }, /another origin/);
    const publicKey = { ...(document().publicKey as Document), id: `${elsewhere}/actor#main-key` };
    await assertRefused({ ...document(), publicKey }, /another origin/);
  }
});

test("refuses keys that another actor owns, or that are not named under this one", async () => {
  const publicKey = document().publicKey as Document;
  const [multikey] = document().assertionMethod as Document[];
  const other = `${origin}/platforms/chu`;
  await assertRefused({ ...document(), publicKey: { ...publicKey, owner: other } }, /another actor/);
  await assertRefused({ ...document(), publicKey: { ...publicKey, id: `${other}#main-key` } }, /fragment/);
  await assertRefused({ ...document(), assertionMethod: [{ ...multikey, controller: other }] }, /another actor/);
  await assertRefused({ ...document(), assertionMethod: [{ ...multikey, id: `${other}#key` }] }, /fragment/);
});

test("refuses weak keys, and PEM that is no public RSA key", async () => {
  const pem = (publicKeyPem: unknown) => ({
    ...document(),
    publicKey: { ...(document().publicKey as Document), publicKeyPem },
  });
  const short = generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey;
  await assertRefused(pem(short.export({ format: "pem", type: "spki" })), /2,048/, "weak_key");
  const ed25519 = generateKeyPairSync("ed25519").publicKey;
  await assertRefused(pem(ed25519.export({ format: "pem", type: "spki" })), /not an RSA key/);
  await assertRefused(pem("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"), /not an RSA key/);
  await assertRefused(pem(keys.rsa.privateKey.export({ format: "pem", type: "pkcs8" })), /not an RSA key/);

  const smallOrder = Buffer.from([1, ...new Uint8Array(31)]).toString("base64url");
  const publicKeyMultibase = encodeMultikey({ kty: "OKP", crv: "Ed25519", x: smallOrder });
  const [multikey] = document().assertionMethod as Document[];
  const weak = { ...document(), assertionMethod: [{ ...multikey, publicKeyMultibase }] };
  await assertRefused(weak, /small order/, "weak_key");
});

test("tells an unreachable instance from one that is refused", async () => {
  const codeOf = async (status: number, headers: Record<string, string> = {}) => {
    serve(document(), status, headers);
    return (await problemOf(fetchInstanceActor(fetcher, origin))).code;
  };
  assert.is(await codeOf(302, { location: `${origin}/other` }), "actor_refused");
  for (const status of [404, 410, 401, 500, 503]) assert.is(await codeOf(status), "actor_unreachable", String(status));
  serve("x".repeat(2 ** 20 + 1));
  assert.is((await problemOf(fetchInstanceActor(fetcher, origin))).code, "actor_refused");
  answer = (request) => request.socket.destroy();
  assert.is((await problemOf(fetchInstanceActor(fetcher, origin))).code, "actor_unreachable");
});

test("opens no connection to an address that is not allowed", async () => {
  let connections = 0;
  const count = () => {
    connections += 1;
  };
  server.on("connection", count);
  const strict = createGuardedFetch({ allowPrivateAddresses: false, allowNetworks: [] });
  try {
    const port = new URL(origin).port;
    for (const address of [origin, `https://127.0.0.1:${port}`, `https://[::ffff:7f00:1]:${port}`]) {
      const problem = await problemOf(fetchInstanceActor(strict, address));
      assert.is(problem.code, "actor_refused");
      assert.is(problem.status, 422);
    }
    assert.is(connections, 0);
  } finally {
    server.off("connection", count);
    await strict.close();
  }
});

test.run();
