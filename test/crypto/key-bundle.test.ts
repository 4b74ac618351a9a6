import * as assert from "uvu/assert";
import { createKeyBundle, judgeKeyBundle } from "../../src/crypto/key-bundle.ts";
import { generateEncryptionKeys, generateIdentityKeys } from "../../src/crypto/keys.ts";
import { suite } from "../harness/suite.ts";
import { type Json, loadVectors } from "../vectors/load.ts";
import { assertVerdict } from "./verdict.ts";

const test = suite("key bundles");
const { file, cases } = loadVectors("key-bundles");
const bundles = file.bundles as Json;
const now = 1_795_428_000;
const lifetime = 300 * 86_400;

for (const item of cases) {
  test(item.name, async () => {
    const known = (item.known as string[]).map((name) => bundles[name]);
    assertVerdict(await judgeKeyBundle({ known, bundle: item.bundle, now: item.now as number }), item);
  });
}

test("a chain made here is accepted link by link, and a thief's is overridden by recovery", async () => {
  const [identity, next, thief, recovery, nextRecovery] = await Promise.all([1, 2, 3, 4, 5].map(generateIdentityKeys));
  const encryption = await generateEncryptionKeys();
  assert.ok(identity && next && thief && recovery && nextRecovery);
  const common = { encryption, now, lifetime };
  const first = await createKeyBundle({ ...common, identity, recovery: recovery.kid });
  const rotated = await createKeyBundle({
    ...common,
    previous: first,
    identity: thief,
    previousIdentity: identity,
    recovery: recovery.kid,
  });
  const recovered = await createKeyBundle({
    ...common,
    previous: first,
    identity: next,
    recoveryKey: recovery,
    recovery: nextRecovery.kid,
  });
  const stolen = await judgeKeyBundle({ known: [first], bundle: rotated, now });
  assert.is(stolen.accepted && stolen.byRecovery, false);
  const verdict = await judgeKeyBundle({ known: [first, rotated], bundle: recovered, now });
  assert.ok(verdict.accepted && verdict.overrides && verdict.byRecovery);
  assert.is(verdict.identity, next.kid);
});

test("a changed recovery key without the old one's signature cannot be made", async () => {
  const identity = await generateIdentityKeys();
  const encryption = await generateEncryptionKeys();
  const common = { encryption, identity, now, lifetime };
  const first = await createKeyBundle({ ...common, recovery: (await generateIdentityKeys()).kid });
  try {
    await createKeyBundle({ ...common, previous: first, recovery: null });
    assert.unreachable();
  } catch (error) {
    assert.is((error as { code?: string }).code, "bundle");
  }
});

test.run();
