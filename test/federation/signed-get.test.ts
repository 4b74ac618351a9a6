// time limit: 120 s
import { generateKeyPairSync } from "node:crypto";
import * as assert from "uvu/assert";
import { mintId } from "../../src/protocol/ids.ts";
import type { Knobs } from "../harness/draft-cavage.ts";
import type { MessageKnobs } from "../harness/message-signature.ts";
import { findPeer, startNode, type TestNode } from "../harness/node.ts";
import { approveScripted, type ScriptedPeer, startPeer } from "../harness/peer.ts";
import {
  joinPlatform,
  makePlatformKeys,
  type PlatformKeys,
  sealNext,
  sealProject,
  type TestPlatform,
  untilKnown,
} from "../harness/platform.ts";
import type { Json } from "../harness/rest.ts";
import { suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";
import { type Answer, sendRequest } from "../harness/wire.ts";

/** Objects and activities, by a GET that a grantee's instance signed; all others get 404 (docs/protocol.md, §1). */
const test = suite("signed GET");

let node: TestNode;
let peer: ScriptedPeer;
/** An approved peer without any grant. */
let other: ScriptedPeer;
let owner: TestPlatform;
let chu: PlatformKeys;
let project: Json;
let projectId: string;
let activity: Json;

test.before(async () => {
  [node, peer, other] = await Promise.all([startNode(), startPeer(), startPeer()]);
  await approveScripted(node, peer);
  await approveScripted(node, other);
  owner = await joinPlatform(node, "ouest");
  chu = await makePlatformKeys(`${peer.origin}/platforms/chu`);
  const entry = peer.activity({
    type: "Update",
    actor: chu.uri,
    object: { id: chu.uri, type: "Organization", preferredUsername: "chu", name: "CHU" },
    "hf:bundles": [{ actor: chu.uri, membership: chu.membership, bundles: [chu.bundle] }],
  });
  assert.is((await peer.post(node.origin, entry)).status, 202);
  await untilKnown(owner, chu);
  project = await sealProject(owner, { code: "G1", grants: [{ to: chu }] });
  projectId = String((await owner.rest.ok("POST", "/projects", { object: project })).id);
  const arrival = await until("the Create arrives", () => peer.arrivals.find((one) => one.activity.type === "Create"));
  activity = arrival.activity;
});
test.after(async () => {
  await Promise.all([node, peer, other].map((part) => part[Symbol.asyncDispose]()));
});

const pathOf = (uri: unknown) => new URL(String(uri)).pathname;
const get = (from: ScriptedPeer, uri: unknown, knobs: Knobs = {}) =>
  from.post(node.origin, null, {
    method: "GET",
    path: pathOf(uri),
    body: "",
    digest: null,
    covered: ["(request-target)", "host", "date"],
    ...knobs,
  });
/** What every GET gets that is not a grantee's: nothing tells one reason from another. */
const assertNothing = (answer: Answer) => {
  assert.is(answer.status, 404, JSON.stringify(answer.body));
  assert.is(answer.body.code, "not_found");
  assert.equal(answer.body.detail, missing.body.detail);
};
let missing: Answer;

test("what does not exist is not found", async () => {
  missing = await get(peer, mintId(node.origin, "projects"));
  assertNothing(missing);
  assertNothing(await get(peer, mintId(node.origin, "activities")));
});

test("the grantee's instance gets the object as it was sealed, and the activity as it was sent", async () => {
  for (const [uri, expected] of [
    [project.id, project],
    [activity.id, activity],
  ] as const) {
    const answer = await get(peer, uri);
    assert.is(answer.status, 200, JSON.stringify(answer.body));
    assert.match(String(answer.headers["content-type"]), /^application\/activity\+json/);
    assert.match(String(answer.headers.vary), /accept/i);
    assert.equal(answer.body, expected);
  }
});

const getMessage = (from: ScriptedPeer, uri: unknown, knobs: MessageKnobs = {}) =>
  from.postMessage(node.origin, null, { method: "GET", path: pathOf(uri), body: Buffer.alloc(0), ...knobs });

test("it may sign by RFC 9421 as well", async () => {
  const answer = await getMessage(peer, project.id);
  assert.is(answer.status, 200, JSON.stringify(answer.body));
  assert.equal(answer.body, project);
  assert.equal((await getMessage(peer, activity.id)).body, activity);
});

const otherEd25519 = generateKeyPairSync("ed25519").privateKey;
for (const [name, ask] of [
  ["another peer without a grant", (uri: unknown) => getMessage(other, uri)],
  [
    "a platform's key, not the instance's",
    (uri: unknown) => getMessage(peer, uri, { keyId: `${chu.uri}#ed25519-key` }),
  ],
  ["a key that is not pinned", (uri: unknown) => getMessage(peer, uri, { privateKey: otherEd25519 })],
  ["an old date", (uri: unknown) => getMessage(peer, uri, { date: new Date(Date.now() - 360_000) })],
  ["created long ago", (uri: unknown) => getMessage(peer, uri, { created: Math.floor(Date.now() / 1000) - 400 })],
  ["a signature for another path", (uri: unknown) => getMessage(peer, uri, { signedTarget: "/inbox" })],
  [
    "a signature that does not cover the target",
    (uri: unknown) => getMessage(peer, uri, { covered: ["@method", "date"] }),
  ],
  [
    "a signature that cannot be parsed",
    (uri: unknown) =>
      getMessage(peer, uri, {
        change: (input, signature) => [
          ["Signature-Input", `${input},`],
          ["Signature", signature],
        ],
      }),
  ],
  ["another host", (uri: unknown) => getMessage(peer, uri, { host: "other.example" })],
] as const) {
  test(`by RFC 9421, ${name}: 404`, async () => {
    assertNothing(await ask(project.id));
    assertNothing(await ask(activity.id));
  });
}

const otherRsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
for (const [name, ask] of [
  ["another peer without a grant", (uri: unknown) => get(other, uri)],
  ["nobody's signature", (uri: unknown) => sendRequest(node.origin, { method: "GET", path: pathOf(uri), headers: [] })],
  ["a platform's key, not the instance's", (uri: unknown) => get(peer, uri, { keyId: `${chu.uri}#main-key` })],
  ["a key that is not pinned", (uri: unknown) => get(peer, uri, { privateKey: otherRsa })],
  ["an old date", (uri: unknown) => get(peer, uri, { date: new Date(Date.now() - 360_000) })],
  ["a signature for another path", (uri: unknown) => get(peer, uri, { signedTarget: pathOf(activity.id).slice(1) })],
  [
    "a signature that does not cover the host",
    (uri: unknown) => get(peer, uri, { covered: ["(request-target)", "date"] }),
  ],
  ["a signature that cannot be parsed", (uri: unknown) => get(peer, uri, { signature: (header) => `${header},` })],
  ["another host", (uri: unknown) => get(peer, uri, { host: "other.example" })],
] as const) {
  test(`${name}: 404`, async () => {
    assertNothing(await ask(project.id));
    assertNothing(await ask(activity.id));
  });
}

test("every refusal of a peer leaves its true code in the audit", async () => {
  const codes = new Set((await node.admin.list("/audit")).flatMap(({ code }) => (code ? [code] : [])));
  for (const code of ["actor_mismatch", "signature_invalid", "signature_clock", "signature_coverage", "not_found"]) {
    assert.ok(codes.has(code), `${code} is among ${[...codes].join(", ")}`);
  }
});

test("what is suspended gets nothing, until it is resumed", async () => {
  const { id } = (await findPeer(node, peer.origin)) as Json;
  await node.admin.ok("POST", `/peers/${String(id)}/suspend`, {});
  assertNothing(await get(peer, project.id));
  assertNothing(await get(peer, activity.id));
  await node.admin.ok("POST", `/peers/${String(id)}/resume`, {});
  assert.is((await get(peer, project.id)).status, 200);
});

test("after the withdrawal nothing of it is found", async () => {
  const next = await sealNext(owner, project, { grants: [] });
  await owner.rest.ok("POST", `/projects/${projectId}/unshare`, { object: next });
  assertNothing(await get(peer, project.id));
  assertNothing(await get(peer, activity.id));
});

test("a grant whose time has not come, or is over, shows nothing", async () => {
  for (const [code, time] of [
    ["G-later", { from: "2099-01-01T00:00:00Z" }],
    ["G-over", { from: "2026-01-01T00:00:00Z", expires: "2026-01-02T00:00:00Z" }],
  ] as const) {
    // Sealed for the owner alone: such a grantee is not in the kid set.
    const clear = { "hf:grants": [{ platform: chu.uri, mode: "readonly", ...time }] };
    const granted = await sealProject(owner, { code, clear });
    await owner.rest.ok("POST", "/projects", { object: granted });
    assertNothing(await get(peer, granted.id));
  }
});

test("a deleted project is not found either", async () => {
  const doomed = await sealProject(owner, { code: "G-doomed", grants: [{ to: chu }] });
  const { id } = await owner.rest.ok("POST", "/projects", { object: doomed });
  assert.is((await get(peer, doomed.id)).status, 200);
  await owner.rest.call("DELETE", `/projects/${String(id)}`);
  assertNothing(await get(peer, doomed.id));
});

test.run();
