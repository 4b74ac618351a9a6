import * as assert from "uvu/assert";
import { createKeyBundle } from "../../src/crypto/key-bundle.ts";
import { generateEncryptionKeys, generateIdentityKeys } from "../../src/crypto/keys.ts";
import { createMembership, judgeMembership } from "../../src/crypto/membership.ts";
import { suite } from "../harness/suite.ts";
import { type Json, loadVectors } from "../vectors/load.ts";
import { assertVerdict } from "./verdict.ts";

const test = suite("memberships");
const { file, cases } = loadVectors("membership");

for (const item of cases) {
  test(item.name, async () => {
    const verdict = await judgeMembership({
      membership: item.membership,
      bundle: (file.bundles as Json)[item.bundle as string],
      actor: item.actor as string,
      heldIat: (item.heldIat as number | undefined) ?? null,
      now: item.now as number,
    });
    assertVerdict(verdict, item);
  });
}

test("one made here is accepted for its actor until it ends", async () => {
  const identity = await generateIdentityKeys();
  const actor = "https://ouest.example/platforms/chu";
  const times = { now: 1000, lifetime: 500 };
  const bundle = await createKeyBundle({
    ...times,
    identity,
    encryption: await generateEncryptionKeys(),
    recovery: null,
  });
  const membership = await createMembership({ ...times, actor, identity });
  const judge = (now: number) => judgeMembership({ membership, bundle, actor, now });
  assert.equal(await judge(1499), { accepted: true, actor, iat: 1000, exp: 1500 });
  assert.equal(await judge(1500), { accepted: false, reason: "expired" });
});

test.run();
