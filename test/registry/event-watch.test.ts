import * as assert from "uvu/assert";
import { Problem } from "../../src/errors.ts";
import type { PlatformCaller } from "../../src/registry/caller.ts";
import { createEventWatch, type EventView } from "../../src/registry/event-watch.ts";
import { openDatabase } from "../../src/storage/database.ts";
import { createLocalSignals } from "../../src/storage/signals.ts";
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";

/** How many views of the journal one process keeps open (docs/rest.md, "Events"). */
const url = await freshDatabaseUrl();
const test = url === undefined ? skipSuite("views of the journal", noPostgres) : suite("views of the journal");

test("a process has a thousand open views, whosever they are; one that is closed makes room", async () => {
  await using database = await openDatabase({ url });
  await using watch = createEventWatch({
    database,
    signals: createLocalSignals(),
    clock: () => new Date(),
    onError: (error) => assert.unreachable(String(error)),
  });
  const open = (count: number): EventView => watch.open(platform(`p${Math.floor(count / 8)}`));
  const views = Array.from({ length: 1_000 }, (_, count) => open(count));
  const refusal = (): unknown => {
    try {
      open(1_000).close();
      return undefined;
    } catch (error) {
      return error;
    }
  };
  const refused = refusal();
  assert.instance(refused, Problem);
  assert.is((refused as Problem).code, "rate_limited");
  assert.type((refused as Problem).members.retry_after, "number");
  views[0]?.close();
  views[0]?.close();
  assert.is(refusal(), undefined);
});

const platform = (handle: string): PlatformCaller => ({
  kind: "platform",
  id: handle,
  uri: `https://ouest.example/platforms/${handle}`,
  handle,
  rights: new Set(),
  sessionId: "019ab000-0000-7000-8000-000000000000",
});

test.run();
