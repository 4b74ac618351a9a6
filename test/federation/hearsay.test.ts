// time limit: 60 s
import * as assert from "uvu/assert";
import { startNode, type TestNode } from "../harness/node.ts";
import { approveScripted, type ScriptedPeer, startPeer } from "../harness/peer.ts";
import {
  joinPlatform,
  makePlatformKeys,
  type PlatformKeys,
  sealProject,
  type TestPlatform,
} from "../harness/platform.ts";
import type { Json } from "../harness/rest.ts";
import { suite } from "../harness/suite.ts";

/** What a peer says of the keys of platforms elsewhere (docs/protocol.md, "Activities", `hf:bundles`). */
const test = suite("hearsay about keys");

let node: TestNode;
let reader: TestPlatform;
let liar: ScriptedPeer;
let home: ScriptedPeer;

test.before(async () => {
  [node, liar, home] = await Promise.all([startNode(), startPeer(), startPeer()]);
  reader = await joinPlatform(node, "reader");
  await approveScripted(node, liar);
});
test.after(async () => {
  await Promise.all([node, liar, home].map((part) => part[Symbol.asyncDispose]()));
});

const bundlesOf = ({ uri, membership, bundle }: PlatformKeys) => [{ actor: uri, membership, bundles: [bundle] }];
const post = async (peer: ScriptedPeer, activity: Json) => {
  const answer = await peer.post(node.origin, activity, { keyId: `${String(activity.actor)}#main-key` });
  assert.is(answer.status, 202, JSON.stringify(answer.body));
};
const kidAt = async (uri: string) => {
  const [platform] = await node.admin.list(`/platforms?uri=${encodeURIComponent(uri)}`);
  return (platform?.key_bundle as Json | null)?.fingerprint ?? null;
};
/** A project of the liar's platform, with keys that it says are another platform's, beside it. */
const share = async (code: string, of: PlatformKeys, granted: boolean) => {
  const owner = await makePlatformKeys(`${liar.origin}/platforms/p`);
  const grants = [{ to: reader }, ...(granted ? [{ to: of }] : [])];
  const object = await sealProject(owner, { code, grants });
  const activity = { type: "Create", actor: owner.uri, to: [reader.uri], object };
  await post(liar, liar.activity({ ...activity, "hf:bundles": [...bundlesOf(owner), ...bundlesOf(of)] }));
};

test("of a platform that the object does not name nothing is kept", async () => {
  const unnamed = await makePlatformKeys(`${home.origin}/platforms/unnamed`);
  await share("H1", unnamed, false);
  assert.is(await kidAt(unnamed.uri), null);
});

test("a platform's own node corrects what another one said of its keys, once it is a peer", async () => {
  const uri = `${home.origin}/platforms/hcl`;
  const [forged, own] = [await makePlatformKeys(uri), await makePlatformKeys(uri)];
  await share("H2", forged, true);
  const told = await kidAt(uri);
  assert.ok(told, "without a word of its own it is what there is");
  await approveScripted(node, home);
  assert.is(await kidAt(uri), null, "hearsay ends with the approval");
  const document = { id: uri, type: "Organization", preferredUsername: "hcl", name: "HCL" };
  const introduction = home.activity({ type: "Update", actor: uri, object: document, "hf:bundles": bundlesOf(own) });
  await post(home, introduction);
  assert.is.not(await kidAt(uri), told);
  const known = await kidAt(uri);
  assert.ok(known);
  // And from now on nobody else has a say.
  await share("H3", forged, true);
  assert.is(await kidAt(uri), known);
});

test("a name that shows nothing is taken from a peer, whose platform is shown by its handle", async () => {
  const { uri, ...keys } = await makePlatformKeys(`${liar.origin}/platforms/unseen`);
  const document = { id: uri, type: "Organization", name: "\u200b", preferredUsername: "unseen" };
  await post(
    liar,
    liar.activity({ type: "Update", actor: uri, object: document, "hf:bundles": bundlesOf({ uri, ...keys }) }),
  );
  const [platform] = await node.admin.list(`/platforms?uri=${encodeURIComponent(uri)}`);
  assert.is(platform?.name, "unseen");
  const object = await sealProject(
    { uri, ...keys },
    { code: "\u200b", clear: { name: " " }, grants: [{ to: reader }] },
  );
  await post(liar, liar.activity({ type: "Create", actor: uri, to: [reader.uri], object }));
  assert.is((await reader.rest.list(`/projects?uri=${encodeURIComponent(String(object.id))}`))[0]?.name, " ");
});

test.run();
