import pg from "pg";
import * as assert from "uvu/assert";
import { Problem } from "../../src/errors.ts";
import { createFirstAdministrator } from "../../src/registry/administrators.ts";
import type { PlatformCaller } from "../../src/registry/caller.ts";
import { createEventWatch, type EventView } from "../../src/registry/event-watch.ts";
import { logIn, resolveSession } from "../../src/registry/sessions.ts";
import { openDatabase } from "../../src/storage/database.ts";
import { createLocalSignals } from "../../src/storage/signals.ts";
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

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

/** Timers that keep this process alive. */
const timers = () => process.getActiveResourcesInfo().filter((resource) => resource === "Timeout").length;

test("a watch that is closed while it looks leaves no timer behind", async () => {
  const before = timers();
  {
    await using database = await openDatabase({ url });
    const now = new Date();
    const caller = await database.transaction(async (tx) => {
      const credentials = { username: "admin", password: "not-a-secret-in-a-test" };
      await createFirstAdministrator(tx, credentials.password, now);
      const verdict = await logIn(tx, credentials, { address: "127.0.0.1", now });
      return verdict.accepted ? await resolveSession(tx, verdict.login.sessionId, now) : null;
    });
    assert.ok(caller);
    const holder = new pg.Client({ connectionString: url });
    await holder.connect();
    await holder.query("begin");
    await holder.query("lock table sessions in access exclusive mode");
    const watch = createEventWatch({
      database,
      signals: createLocalSignals(),
      clock: () => now,
      onError: (error) => assert.unreachable(String(error)),
    });
    watch.open(caller);
    await until("it looks whose sessions have ended", async () => {
      const waiting = "select from pg_locks where not granted and relation = 'sessions'::regclass";
      return (await holder.query(waiting)).rowCount === 1;
    });
    const closed = watch[Symbol.asyncDispose]();
    await holder.query("commit");
    await Promise.all([closed, holder.end()]);
  }
  assert.is(timers(), before);
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
