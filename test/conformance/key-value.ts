import * as assert from "uvu/assert";
import type { KeyValue } from "../../src/storage/key-value.ts";
import type { Suite } from "../harness/suite.ts";

export interface KeyValueFixture {
  /** A store that is empty, and disposed by the test. */
  open(): Promise<KeyValue>;
  /** Lets the store's time pass. */
  advance(milliseconds: number): Promise<void>;
}

/** What every adapter of the key-value port must do. */
export function describeKeyValue(test: Suite, { open, advance }: KeyValueFixture): void {
  test("gives back what was set, and the newest of it", async () => {
    await using store = await open();
    await store.set("a", "1");
    await store.set("a", 'ü"\n\u0000');
    assert.is(await store.get("a"), 'ü"\n\u0000');
  });

  test("knows nothing of keys that were never set or were deleted", async () => {
    await using store = await open();
    assert.is(await store.get("a"), undefined);
    await store.set("a", "");
    assert.is(await store.get("a"), "");
    await store.delete("a");
    assert.is(await store.get("a"), undefined);
    await store.delete("a");
  });

  test("forgets a value when its time is over, and not before", async () => {
    await using store = await open();
    await store.set("short", "1", 2_000);
    await store.set("long", "1", 60_000);
    await store.set("ever", "1");
    await advance(1_000);
    assert.is(await store.get("short"), "1");
    await advance(1_500);
    assert.is(await store.get("short"), undefined);
    assert.is(await store.get("long"), "1");
    assert.is(await store.get("ever"), "1");
  });

  test("takes the expiry of the newest set, none included", async () => {
    await using store = await open();
    await store.set("a", "1", 1_000);
    await store.set("a", "2");
    await store.set("b", "1");
    await store.set("b", "2", 1_000);
    await advance(1_500);
    assert.is(await store.get("a"), "2");
    assert.is(await store.get("b"), undefined);
  });

  test("counts up from one within a window", async () => {
    await using store = await open();
    assert.is(await store.increment("n", 5_000), 1);
    assert.is(await store.increment("n", 5_000), 2);
    assert.is(await store.increment("other", 5_000), 1);
    assert.is(await store.increment("n", 5_000, 3), 5);
    assert.is(await store.increment("several", 5_000, 4), 4);
    assert.is(await store.get("n"), "5");
  });

  test("ends a window when the first call said, however often it is called", async () => {
    await using store = await open();
    await store.increment("n", 2_000);
    await advance(1_200);
    assert.is(await store.increment("n", 2_000), 2);
    await advance(1_200);
    assert.is(await store.increment("n", 2_000), 1);
  });

  test("gives calls side by side a number each", async () => {
    await using store = await open();
    const counts = await Promise.all(Array.from({ length: 50 }, () => store.increment("n", 5_000)));
    assert.equal(
      counts.sort((a, b) => a - b),
      Array.from({ length: 50 }, (_, index) => index + 1),
    );
  });
}
