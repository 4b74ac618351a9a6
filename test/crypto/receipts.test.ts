import * as assert from "uvu/assert";
import { generateIdentityKeys, type PublicJwk } from "../../src/crypto/keys.ts";
import { signReceipt, verifyReceipt } from "../../src/crypto/receipts.ts";
import { digestJson } from "../../src/protocol/canonical-json.ts";
import { suite } from "../harness/suite.ts";
import { type Json, loadVectors } from "../vectors/load.ts";
import { assertVerdict } from "./verdict.ts";

const test = suite("receipts");
const { file, cases } = loadVectors("receipts");

for (const item of cases) {
  test(item.name, async () => {
    const peer = item.peer as string;
    const verdict = await verifyReceipt(item.receipt, {
      activity: (file.activities as Record<string, Json>)[item.activity as string] as Json,
      self: item.self as string,
      peer,
      now: new Date((file.source as { now: string }).now),
      keys: (file.nodes as Record<string, { jwk: PublicJwk }[]>)[peer]?.map(({ jwk }) => jwk) ?? [],
    });
    assertVerdict(verdict, item);
    if (verdict.accepted) assert.is(verdict.receipt.effect, (item.result as Json).effect);
  });
}

test("a receipt signed here verifies, and not for an activity with another member", async () => {
  const key = await generateIdentityKeys();
  const activity = { id: "https://a.example/activities/1", type: "Update" };
  const [peer, self] = ["https://b.example", "https://a.example"];
  const receipt = { iss: peer, to: self, activity: activity.id, digest: digestJson(activity) };
  const text = await signReceipt(
    { ...receipt, received: "2026-11-23T10:00:00.000Z", effect: "stale", revision: 3 },
    key,
  );
  const now = new Date("2026-11-23T10:00:00.000Z");
  const expected = { activity, self, peer, keys: [key.publicJwk], now };
  const verdict = await verifyReceipt(text, expected);
  assert.is(verdict.accepted && verdict.receipt.revision, 3);
  const other = await verifyReceipt(text, { ...expected, activity: { ...activity, summary: "" } });
  assert.equal(other, { accepted: false, reason: "digest" });
});

test("a receipt of what is yet to be received proves nothing, but for what clocks may differ", async () => {
  const key = await generateIdentityKeys();
  const activity = { id: "https://a.example/activities/1", type: "Update" };
  const [peer, self] = ["https://b.example", "https://a.example"];
  const now = new Date("2026-11-23T10:00:00.000Z");
  const judge = async (received: string) => {
    const digest = digestJson(activity);
    const receipt = { iss: peer, to: self, activity: activity.id, digest, received, effect: "applied" } as const;
    const keys = [key.publicJwk];
    return await verifyReceipt(await signReceipt(receipt, key), { activity, self, peer, keys, now });
  };
  assert.is((await judge("2026-11-23T10:05:00.000Z")).accepted, true);
  assert.equal(await judge("2026-11-23T10:05:00.001Z"), { accepted: false, reason: "clock" });
  assert.is((await judge("2025-01-01T00:00:00.000Z")).accepted, true, "the peer's clock was behind, or ours ahead");
});

test.run();
