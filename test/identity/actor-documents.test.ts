import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { instanceActor, platformActor } from "../../src/identity/actor-documents.ts";
import { loadNodeKeys, type NodeKeys } from "../../src/identity/node-keys.ts";
import { suite } from "../harness/suite.ts";

const test = suite("actor documents");
const origin = "https://lyon.example:8443";
let keys: NodeKeys;

test.before(async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "concordat-actors-"));
  keys = await loadNodeKeys({ dataDir });
  await rm(dataDir, { recursive: true, force: true });
});

/** The whole document: what it does not hold matters as much, for it announces only what this version does. */
function expected(id: string, members: object): unknown {
  return {
    "@context": [
      "https://www.w3.org/ns/activitystreams",
      "https://w3id.org/security/v1",
      "https://w3id.org/security/multikey/v1",
      { hf: "urn:concordat:ns#" },
    ],
    id,
    inbox: `${id}/inbox`,
    outbox: `${id}/outbox`,
    endpoints: { sharedInbox: `${origin}/inbox`, "hf:batchInbox": `${origin}/batch-inbox` },
    publicKey: { id: `${id}#main-key`, owner: id, publicKeyPem: keys.rsa.publicKeyPem },
    assertionMethod: [
      { id: `${id}#ed25519-key`, type: "Multikey", controller: id, publicKeyMultibase: keys.ed25519.multibase },
    ],
    generator: {
      type: "Application",
      implements: [
        { href: "https://datatracker.ietf.org/doc/html/rfc9421", name: "RFC-9421: HTTP Message Signatures" },
        { href: "urn:concordat:ns#receipts", name: "Concordat receipts" },
      ],
    },
    ...members,
  };
}

test("shows the instance as an Application with the node's keys", () => {
  const members = { type: "Application", preferredUsername: "lyon.example", name: "Lyon" };
  assert.equal(instanceActor({ origin, keys, name: "Lyon" }), expected(`${origin}/actor`, members));
});

test("shows a platform as an Organization with the node's keys under its own id", () => {
  const members = { type: "Organization", preferredUsername: "chu", name: "CHU de Lyon" };
  assert.equal(
    platformActor({ origin, keys, handle: "chu", name: "CHU de Lyon" }),
    expected(`${origin}/platforms/chu`, members),
  );
});

test("shows no private key", () => {
  const text = JSON.stringify([instanceActor({ origin, keys, name: "Lyon" })]);
  assert.not.ok(text.includes(keys.ed25519.privateJwk.d));
  assert.not.match(text, /PRIVATE KEY/);
});

test("names rotated keys with their suffix", () => {
  const rotated = instanceActor({ origin, keys: { ...keys, suffix: "-2" }, name: "Lyon" });
  assert.is((rotated.publicKey as { id: string }).id, `${origin}/actor#main-key-2`);
  assert.is((rotated.assertionMethod as { id: string }[])[0]?.id, `${origin}/actor#ed25519-key-2`);
});

test.run();
