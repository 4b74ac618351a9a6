import * as assert from "uvu/assert";
import { createMemoryKeyValue } from "../../src/storage/key-value-memory.ts";
import { describeKeyValue } from "../conformance/key-value.ts";
import { suite } from "../harness/suite.ts";

const test = suite("key-value in memory");

let now = Date.parse("2026-11-26T00:00:00Z");
const clock = () => new Date(now);

describeKeyValue(test, {
  open: async () => createMemoryKeyValue({ clock }),
  async advance(milliseconds) {
    now += milliseconds;
  },
});

test("drops the key that was set longest ago when there are too many", async () => {
  await using store = createMemoryKeyValue({ clock, mostKeys: 2 });
  await store.set("a", "1");
  await store.set("b", "1");
  await store.set("a", "2");
  await store.set("c", "1");
  assert.is(await store.get("a"), "2");
  assert.is(await store.get("b"), undefined);
  assert.is(await store.get("c"), "1");
});

test.run();
