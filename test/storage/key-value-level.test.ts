import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Level } from "level";
import * as assert from "uvu/assert";
import { ConcordatError } from "../../src/errors.ts";
import { openLevelKeyValue } from "../../src/storage/key-value-level.ts";
import { describeKeyValue } from "../conformance/key-value.ts";
import { suite } from "../harness/suite.ts";

const test = suite("key-value on level");

let now = Date.parse("2026-11-26T00:00:00Z");
let directory = "";
let stores = 0;
const clock = () => new Date(now);
const nextLocation = () => join(directory, String(stores++), "key-value");

test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), "concordat-key-value-"));
});
test.after(() => rm(directory, { recursive: true }));

describeKeyValue(test, {
  open: () => openLevelKeyValue(nextLocation(), { clock }),
  async advance(milliseconds) {
    now += milliseconds;
  },
});

test("keeps values over a restart", async () => {
  const location = nextLocation();
  {
    await using store = await openLevelKeyValue(location, { clock });
    await store.set("a", "1", 60_000);
  }
  await using store = await openLevelKeyValue(location, { clock });
  assert.is(await store.get("a"), "1");
});

test("removes expired entries without anybody reading them", async () => {
  const location = nextLocation();
  {
    await using store = await openLevelKeyValue(location, { clock, sweepEvery: 5 });
    await store.set("old", "1", 1_000);
    await store.set("new", "1", 60_000);
    now += 2_000;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  await using level = new Level<string, unknown>(location);
  assert.equal(await level.keys().all(), ["new"]);
});

test("refuses a folder that is in use and names the data directory", async () => {
  const location = nextLocation();
  await using _first = await openLevelKeyValue(location, { clock });
  try {
    await openLevelKeyValue(location, { clock });
    assert.unreachable("the folder was opened twice");
  } catch (error) {
    assert.instance(error, ConcordatError);
    assert.is((error as ConcordatError).code, "data_directory_in_use");
    assert.match((error as ConcordatError).message, join(location, ".."));
  }
});

test.run();
