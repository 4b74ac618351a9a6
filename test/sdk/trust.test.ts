import * as assert from "uvu/assert";
import { createKeyBundle } from "../../src/crypto/key-bundle.ts";
import { fingerprint, generateIdentityKeys } from "../../src/crypto/keys.ts";
import type { Client } from "../../src/sdk/client.ts";
import { joinInstance } from "../../src/sdk/memberships.ts";
import { declareProject, shareProject } from "../../src/sdk/projects.ts";
import { confirmFingerprint, findRecipient, identitiesOf, learnKeys, recallKeys } from "../../src/sdk/trust.ts";
import type { Membership } from "../../src/sdk/vault.ts";
import { suite } from "../harness/suite.ts";
import {
  createInstance,
  createParty,
  now,
  type Party,
  refusalOf,
  rotate,
  type ScriptedInstance,
  withClient,
} from "./scripted-instance.ts";

const test = suite("trust in other platforms' keys");

const hcl = "https://lyon.example/platforms/hcl";
const hclId = "id-of-hcl";

async function withHcl(
  use: (parts: { client: Client; membership: Membership; instance: ScriptedInstance; party: Party }) => Promise<void>,
): Promise<void> {
  const instance = createInstance("https://ouest.example");
  const party = await createParty(hcl, hclId);
  instance.parties.set(hclId, party);
  await withClient([instance], async (client) => {
    await joinInstance(client, { origin: instance.origin, handle: "chu-rennes", accessKey: "key" });
    const [membership] = (await client.vault.read()).memberships;
    if (membership === undefined) throw new Error("did not join");
    instance.received.length = 0;
    await use({ client, membership, instance, party });
  });
}

const learn = (client: Client, membership: Membership) => learnKeys(client, membership, { id: hclId, uri: hcl });

test("pins the first keys it sees as unverified, and verified after people compared them", () =>
  withHcl(async ({ client, membership, party }) => {
    const learnt = await learn(client, membership);
    assert.is(learnt.status, "unverified");
    assert.equal(learnt.encryption, party.encryption.publicJwk);
    assert.is(learnt.fingerprint, fingerprint(party.identity.publicJwk));

    const refused = await refusalOf(() => confirmFingerprint(client, hcl, "0000 0000 0000 0000 0000 0000"));
    assert.is(refused.code, "fingerprint_mismatch");
    assert.is((await recallKeys(client, hcl))?.status, "unverified");

    await confirmFingerprint(client, hcl, learnt.fingerprint.replaceAll(" ", "").toUpperCase());
    assert.is((await learn(client, membership)).status, "verified");
  }));

test("follows a new encryption key of the same identity, and stays verified", () =>
  withHcl(async ({ client, membership, party }) => {
    const { fingerprint: known } = await learn(client, membership);
    await confirmFingerprint(client, hcl, known);
    await rotate(party);
    const learnt = await learn(client, membership);
    assert.is(learnt.seq, 2);
    assert.equal(learnt.encryption, party.encryption.publicJwk);
    assert.is(learnt.status, "verified");
  }));

test("follows a new identity along its chain, which nobody has compared yet", () =>
  withHcl(async ({ client, membership, party }) => {
    const { fingerprint: known } = await learn(client, membership);
    await confirmFingerprint(client, hcl, known);
    await rotate(party, { identity: await generateIdentityKeys() });
    const learnt = await learn(client, membership);
    assert.is(learnt.status, "unverified");
    assert.is.not(learnt.fingerprint, known);
    assert.is(learnt.identities.length, 2);
    assert.is(learnt.identities[0]?.endedBy, "rotation");
  }));

/** Each makes the instance give out other keys than hcl's. */
const substitutions: Readonly<Record<string, (party: Party) => Promise<{ bundles: unknown[]; membership: string }>>> = {
  "another identity under the same number": async () => createParty(hcl, hclId),
  "another identity that the one before did not sign": async (party) => {
    const stranger = await createParty(hcl, hclId);
    const previous = party.bundles.at(-1);
    // Made as if it were one's own chain, and then put after hcl's bundle.
    const identity = stranger.identity;
    const forged = await createKeyBundle({
      ...(previous === undefined ? {} : { previous }),
      previousIdentity: await generateIdentityKeys(),
      identity,
      encryption: stranger.encryption,
      recovery: null,
      now: Math.floor(now.getTime() / 1000) - 10,
      lifetime: 86_400,
    });
    return { bundles: [...party.bundles, forged], membership: stranger.membership };
  },
  "the membership of another platform": async (party) => ({
    bundles: party.bundles,
    membership: (await createParty("https://lyon.example/platforms/other", hclId)).membership,
  }),
};

for (const [what, substitute] of Object.entries(substitutions)) {
  test(`refuses ${what}, and seals and sends nothing`, () =>
    withHcl(async ({ client, membership, instance, party }) => {
      const before = await learn(client, membership);
      const project = await declareProject(client, membership, { code: "A", sealed: {} });
      instance.received.length = 0;
      const offered = (await substitute(party)) as Pick<Party, "bundles" | "membership">;
      instance.parties.set(hclId, { ...party, ...offered });

      const { recipient } = await findRecipient(client, { handle: "hcl", host: "lyon.example" });
      const share = () => shareProject(client, membership, project.id, { platform: recipient, mode: "readonly" });
      const refused = await refusalOf(share);
      assert.is(refused.code, "trust_refused");
      assert.is(refused.details.known_fingerprint, before.fingerprint);
      assert.match(String(refused.details.offered_fingerprint), /^[0-9a-f]{4}( [0-9a-f]{4}){5}$/);
      assert.equal(instance.received, []);
      assert.equal(await recallKeys(client, hcl), before);
    }));
}

test("shows both fingerprints where they differ", () =>
  withHcl(async ({ client, membership, instance }) => {
    const before = await learn(client, membership);
    const other = await createParty(hcl, hclId);
    instance.parties.set(hclId, other);
    const { details } = await refusalOf(() => learn(client, membership));
    assert.is(details.reason, "equivocation");
    assert.is(details.known_fingerprint, before.fingerprint);
    assert.is(details.offered_fingerprint, fingerprint(other.identity.publicJwk));
  }));

test("refuses an older bundle than it knows", () =>
  withHcl(async ({ client, membership, instance, party }) => {
    await rotate(party);
    await learn(client, membership);
    instance.parties.set(hclId, { ...party, bundles: party.bundles.slice(0, 1) });
    const refused = await refusalOf(() => learn(client, membership));
    assert.is(refused.code, "trust_refused");
    assert.is(refused.details.reason, "seq_lower");
  }));

test("refuses keys that have expired", () =>
  withHcl(async ({ client, membership, instance }) => {
    instance.parties.set(hclId, await createParty(hcl, hclId, 30));
    const refused = await refusalOf(() => learn(client, membership));
    assert.is(refused.details.reason, "expired");
    assert.is(refused.details.known_fingerprint, null);
    assert.is(await recallKeys(client, hcl), null);
  }));

test("says so where a platform has published no keys", () =>
  withHcl(async ({ client, membership, instance }) => {
    instance.parties.clear();
    assert.is((await refusalOf(() => learn(client, membership))).code, "no_key_bundle");
    const find = () => findRecipient(client, { handle: "hcl", host: "lyon.example" });
    assert.is((await refusalOf(find)).code, "unknown_platform");
  }));

test("lets an identity that a recovery key replaced end at once", async () => {
  const party = await createParty(hcl, hclId);
  await rotate(party, { identity: await generateIdentityKeys() });
  const chain = party.bundles.map((bundle, at) => ({ bundle, byRecovery: at === 1 }));
  assert.is(identitiesOf(chain)[0]?.endedBy, "recovery");
});

test.run();
