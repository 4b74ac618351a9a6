// time limit: 120 s
import * as assert from "uvu/assert";
import { mintId } from "../../src/protocol/ids.ts";
import { findPeer, startNode, type TestNode } from "../harness/node.ts";
import { approveScripted, type ScriptedPeer, startPeer } from "../harness/peer.ts";
import {
  joinPlatform,
  makePlatformKeys,
  type PlatformKeys,
  sealEdit,
  sealNext,
  sealProject,
  type TestPlatform,
  untilKnown,
} from "../harness/platform.ts";
import { assertRefused, type Trace, untilQuiet } from "../harness/refusal.ts";
import type { Json } from "../harness/rest.ts";
import { freshDatabaseUrl } from "../harness/servers.ts";
import { type FormKnobs, postIn, signatureForms } from "../harness/signature-form.ts";
import { suite } from "../harness/suite.ts";

/** Of two faults the one that comes first in the order of judgement is told (docs/protocol.md, "Answers"). */
const test = suite("refusals: the order of judgement from the signature on");

let node: TestNode;
let peer: ScriptedPeer;
let stranger: ScriptedPeer;
/** A platform here, with a project that `editor` may edit, `reader` may read, and `outsider` must not know of. */
let owner: TestPlatform;
let editor: PlatformKeys;
let reader: PlatformKeys;
let outsider: PlatformKeys;
let first: Json;
let current: Json;

const foreign = "http://127.0.0.1:9";
const grants = () => [{ to: editor, mode: "editable" as const }, { to: reader }];

test.before(async () => {
  const store = (await freshDatabaseUrl()) === undefined ? "pglite" : "postgres";
  [node, peer, stranger] = await Promise.all([startNode({ store }), startPeer(), startPeer()]);
  await approveScripted(node, peer);
  owner = await joinPlatform(node, "owner");
  [editor, reader, outsider] = (await Promise.all(
    ["editor", "reader", "outsider"].map(async (handle) => {
      const keys = await makePlatformKeys(`${peer.origin}/platforms/${handle}`);
      assert.is((await peer.post(node.origin, introduce(keys, handle))).status, 202);
      return keys;
    }),
  )) as [PlatformKeys, PlatformKeys, PlatformKeys];
  await untilKnown(owner, editor, reader);
  first = await sealProject(owner, { code: "ORDER", grants: grants() });
  const { id } = await owner.rest.ok("POST", "/projects", { object: first });
  current = await sealNext(owner, first, { grants: grants() });
  await owner.rest.ok("PATCH", `/projects/${String(id)}`, { object: current });
  await untilQuiet(node);
});
test.after(async () => {
  await Promise.all([node, peer, stranger].map((part) => part[Symbol.asyncDispose]()));
});

const introduce = (keys: PlatformKeys, handle: string): Json =>
  peer.activity({
    type: "Update",
    actor: keys.uri,
    object: { id: keys.uri, type: "Organization", preferredUsername: handle, name: handle },
    "hf:bundles": [{ actor: keys.uri, membership: keys.membership, bundles: [keys.bundle] }],
  });
const like = (of: ScriptedPeer, members: Json = {}): Json =>
  of.activity({ type: "Like", object: `${of.origin}/notes/1`, ...members });
const follow = (members: Json): Json =>
  stranger.activity({ type: "Follow", object: `${node.origin}/actor`, ...members });
/** An edit of the project, as if it were made of that revision. */
const edit = async (by: PlatformKeys, before: Json, clear: Json = {}, members: Json = {}): Promise<Json> => {
  const object = await sealEdit(by, owner, before, { grants: grants(), clear });
  return peer.activity({
    type: "Update",
    actor: by.uri,
    object,
    "hf:baseRevision": Number(before["hf:revision"]),
    ...members,
  });
};
const unknown = () => ({ ...current, id: mintId(node.origin, "projects") });
const changed: FormKnobs = { tamper: (body) => Buffer.concat([body, Buffer.from(" ")]) };

interface Row {
  readonly name: string;
  readonly status: number;
  readonly code: string;
  readonly from: () => ScriptedPeer;
  readonly trace: Trace;
  readonly make: () => Json | Promise<Json>;
  readonly knobs?: FormKnobs;
}

const ofStranger = (name: string, status: number, code: string, make: Row["make"], knobs: FormKnobs = {}): Row => ({
  name: `of a stranger, ${name}`,
  status,
  code,
  from: () => stranger,
  trace: "count",
  make,
  knobs,
});
const ofPeer = (name: string, status: number, code: string, make: Row["make"], knobs: FormKnobs = {}): Row => ({
  name,
  status,
  code,
  from: () => peer,
  trace: "entry",
  make,
  knobs,
});

const rows: readonly Row[] = [
  ofStranger("no signature before not approved", 401, "signature_missing", () => like(stranger), { unsigned: true }),
  ofStranger("not approved before coverage", 403, "peer_not_approved", () => like(stranger), { digestUncovered: true }),
  ofStranger("not approved before the clock", 403, "peer_not_approved", () => like(stranger), { date: new Date(0) }),
  ofStranger("not approved before the actor", 403, "peer_not_approved", () =>
    like(stranger, { actor: `${foreign}/actor` }),
  ),
  ofStranger("not approved before the id", 403, "peer_not_approved", () =>
    like(stranger, { id: `${foreign}/activities/1` }),
  ),
  ofStranger(
    "the digest of a Follow before its actor",
    401,
    "signature_digest",
    () => follow({ actor: `${foreign}/actor` }),
    changed,
  ),
  ofStranger(
    "the digest of a Follow before its id",
    401,
    "signature_digest",
    () => follow({ id: `${foreign}/activities/1` }),
    changed,
  ),
  ofStranger(
    "the digest of a Follow before whom it is of",
    401,
    "signature_digest",
    () => follow({ object: `${foreign}/actor` }),
    changed,
  ),
  ofPeer("the id of an activity before an unknown object", 403, "foreign_id", () =>
    edit(editor, unknown(), {}, { id: `${foreign}/activities/1` }),
  ),
  ofPeer("an edit of an unknown object", 404, "not_found", () => edit(editor, unknown())),
  ofPeer("an edit without a grant", 404, "not_found", () => edit(outsider, current)),
  ofPeer("no grant before another owner", 404, "not_found", () =>
    edit(outsider, current, { attributedTo: outsider.uri }),
  ),
  ofPeer("no grant before an old revision", 404, "not_found", () => edit(outsider, first)),
  ofPeer("an edit with a read-only grant", 403, "not_owner", () => edit(reader, current)),
  ofPeer("a read-only grant before an old revision", 403, "not_owner", () => edit(reader, first)),
  ofPeer("another owner before an old revision", 403, "not_owner", () =>
    edit(editor, first, { attributedTo: editor.uri }),
  ),
  ofPeer("an edit of an old revision", 409, "revision_stale", () => edit(editor, first)),
  ofPeer("an old revision before changed grants", 409, "revision_stale", () =>
    edit(editor, first, { "hf:grants": [] }),
  ),
  ofPeer("an old revision before the envelope", 409, "revision_stale", () =>
    edit(reader, first, {}, { actor: editor.uri }),
  ),
  ofPeer("an edit that changes grants", 422, "grants_refused", () => edit(editor, current, { "hf:grants": [] })),
  ofPeer("an answer to a Follow that was never sent", 409, "state_conflict", () =>
    peer.activity({ type: "Accept", object: mintId(node.origin, "activities") }),
  ),
];

for (const form of signatureForms) {
  for (const { name, status, code, from, trace, make, knobs = {} } of rows) {
    test(`${form}: ${name}: ${status} ${code}`, async () => {
      const activity = await make();
      const signer = trace === "entry" ? { signer: String(activity.actor) } : {};
      const answer = await assertRefused(node, from(), { status, code, trace }, () =>
        postIn(form, from(), node.origin, activity, { ...signer, ...knobs }),
      );
      if (code === "revision_stale") assert.is(answer.body.current_revision, current["hf:revision"]);
    });
  }

  test(`${form}: the signature before the quota, the quota before the rules of origin and the policy`, async () => {
    const { id } = (await findPeer(node, peer.origin)) as Json;
    const setPolicy = async (policy: Json) => {
      await node.admin.ok("PATCH", `/peers/${String(id)}`, { policy });
      // What the peer may learn of is introduced again.
      await untilQuiet(node);
    };
    await setPolicy({ per_minute: 0, activities: ["Announce"] });
    for (const [status, code, activity, knobs] of [
      [401, "signature_invalid", like(peer), { otherKey: true }],
      [401, "signature_digest", like(peer), changed],
      [429, "rate_limited", like(peer, { actor: `${foreign}/actor` }), {}],
      [429, "rate_limited", like(peer, { id: `${foreign}/activities/1` }), {}],
      [429, "rate_limited", like(peer), {}],
    ] as const) {
      await assertRefused(node, peer, { status, code, trace: "entry" }, () =>
        postIn(form, peer, node.origin, activity, knobs),
      );
    }
    await setPolicy({ per_minute: null, activities: "all" });
    assert.is((await postIn(form, peer, node.origin, like(peer))).status, 202);
  });
}

test.run();
