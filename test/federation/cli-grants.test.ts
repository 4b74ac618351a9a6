// time limit: 120 s
import { createPublicKey, generateKeyPairSync } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import type { JsonObject } from "../../src/protocol/objects.ts";
import { run } from "../cli/terminal.ts";
import { startNode, type TestNode } from "../harness/node.ts";
import { approveScripted, startPeer } from "../harness/peer.ts";
import { peopleIn } from "../harness/people.ts";
import { suite } from "../harness/suite.ts";

/** Grants and peers as people see them on a screen, and what is asked before it is done; cli-sharing has the nodes. */
const test = suite("the commands for grants and peers, on one node");

let node: TestNode;
let directory: string;
let { command, result, rows, refusal, settingsOf } = peopleIn("");
let address: string;

test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), "concordat-cli-grants-"));
  ({ command, result, rows, refusal, settingsOf } = peopleIn(directory));
  node = await startNode();
  address = `voisin@${new URL(node.origin).host}`;
  await result("admin", "admin", "login", node.origin);
  for (const handle of ["ouest", "voisin"]) {
    const key = join(directory, `${handle}.key`);
    await result("admin", "admin", "platforms", "create", handle, "--handle", handle, "--access-key-file", key);
    await result(handle, "join", node.origin, "--handle", handle, "--access-key-file", key);
  }
  const file = join(directory, "project.json");
  await writeFile(file, JSON.stringify({ code: "G-1", name: "Grants", sealed: {} }));
  await result("ouest", "projects", "create", "--file", file);
});
test.after(async () => {
  await node[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

/** What a command that succeeds shows on the screen. */
const screen = async (person: string, ...argv: readonly string[]): Promise<string> => {
  const { code, out, err } = await command(person, ...argv);
  assert.is(code, 0, err);
  return out + err;
};
const grants = async () => ((await result("ouest", "projects", "show", "G-1")).project as JsonObject).grants;

test("a grant is given until an instant, changed, and ended, and each is said", async () => {
  const first = await screen("ouest", "projects", "share", "G-1", address, "--until", "2099-01-01");
  assert.match(first, /read-only, as revision 2; it is on the same instance, which needs no receipt/);
  assert.match(first, /Nobody has compared its key yet \([0-9a-f ]+\): concordat keys verify voisin@/);
  const [given] = (await grants()) as JsonObject[];
  assert.is(given?.expires_at, "2099-01-01T00:00:00.000Z");
  assert.is(given?.readonly, true);

  assert.match(await screen("ouest", "projects", "share", "G-1", address, "--editable"), /editable/);
  const [changed] = (await grants()) as JsonObject[];
  assert.is(changed?.expires_at, null);
  assert.is(changed?.readonly, false);
  assert.is(changed?.from, given?.from, "it began when it was given first");

  assert.match(
    await screen("ouest", "projects", "unshare", "G-1", address),
    /no longer shared .*it reads nothing more/,
  );
  assert.equal(await grants(), []);
  assert.equal(await rows("voisin", "projects", "list"), []);
});

test("a grant that would end before it begins is refused, and nothing is sent", async () => {
  const past = await refusal("ouest", "projects", "share", "G-1", address, "--until", "2020-01-01");
  assert.is(past.code, "invalid_project");
  assert.is((await command("ouest", "projects", "share", "G-1", address, "--until", "tomorrow")).code, 2);
  assert.equal(await grants(), []);
});

test("a peer whose new keys wait for an approval is shown with the reason", async () => {
  const peer = await startPeer();
  try {
    await approveScripted(node, peer);
    const show = ["admin", "peers", "show", peer.origin];
    assert.not.match(await screen("admin", ...show), /new keys wait/);
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const publicKeyPem = createPublicKey(privateKey).export({ format: "pem", type: "spki" });
    const keyId = `${peer.actor}#main-key-2`;
    peer.changeActor((document) => ({ ...document, publicKey: { id: keyId, owner: peer.actor, publicKeyPem } }));
    const activity = peer.activity({ type: "Like", object: `${peer.origin}/notes/1` });
    assert.is((await peer.post(node.origin, activity, { keyId, privateKey })).status, 403);
    assert.match(await screen("admin", ...show), /new keys wait for an approval \(actor_keys\)/);

    const revoke = ["admin", "peers", "revoke", peer.origin, "--json"];
    const unconfirmed = await run(revoke, { settings: settingsOf("admin"), answers: ["n"] });
    assert.is(JSON.parse(unconfirmed.err).code, "not_confirmed");
    assert.is((await result("admin", ...show)).state, "suspended");
    assert.is((await result("admin", ...revoke.slice(0, -1), "--yes")).state, "revoked");
  } finally {
    await peer[Symbol.asyncDispose]();
  }
});

test.run();
