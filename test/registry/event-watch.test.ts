import pg from "pg";
import * as assert from "uvu/assert";
import { Problem } from "../../src/errors.ts";
import { createFirstAdministrator } from "../../src/registry/administrators.ts";
import type { AdministratorCaller, PlatformCaller } from "../../src/registry/caller.ts";
import { createEventWatch, type EventView } from "../../src/registry/event-watch.ts";
import { logIn, resolveSession } from "../../src/registry/sessions.ts";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { createLocalSignals } from "../../src/storage/signals.ts";
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/** Views of the journal that one process keeps open (docs/rest.md, "Events"). */
const url = await freshDatabaseUrl();
const test = url === undefined ? skipSuite("views of the journal", noPostgres) : suite("views of the journal");

const now = new Date();
const credentials = { username: "admin", password: "not-a-secret-in-a-test" };

test.before(async () => {
  await using database = await openDatabase({ url });
  await database.transaction((tx) => createFirstAdministrator(tx, credentials.password, now));
});

const watchOf = (database: Database) =>
  createEventWatch({
    database,
    signals: createLocalSignals(),
    clock: () => now,
    onError: (error) => assert.unreachable(String(error)),
  });

/** The administrator, in a session of its own. */
async function logInTo(database: Database): Promise<AdministratorCaller> {
  return await database.transaction(async (tx) => {
    const verdict = await logIn(tx, credentials, { address: "127.0.0.1", secret: new Uint8Array(32), now });
    const caller = verdict.accepted ? await resolveSession(tx, verdict.login.sessionId, now) : null;
    if (caller?.kind !== "administrator") throw new Error("the administrator is not let in");
    return caller;
  });
}

/** Keeps everybody from reading sessions, until it is let go. */
async function holdSessions() {
  const holder = new pg.Client({ connectionString: url });
  await holder.connect();
  await holder.query("begin");
  await holder.query("lock table sessions in access exclusive mode");
  return {
    untilAwaited: () =>
      until("somebody asks whose sessions have ended", async () => {
        const waiting = `select from pg_locks where not granted and relation = 'sessions'::regclass
          and database = (select oid from pg_database where datname = current_database())`;
        return (await holder.query(waiting)).rowCount === 1;
      }),
    letGo: async () => {
      await holder.query("commit");
      await holder.end();
    },
  };
}

test("a process has a thousand open views, whosever they are; one that is closed makes room", async () => {
  await using database = await openDatabase({ url });
  await using watch = watchOf(database);
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

test("a view that is opened while others are judged is not taken for one whose session has ended", async () => {
  await using database = await openDatabase({ url });
  await using watch = watchOf(database);
  const callers = [await logInTo(database), await logInTo(database)] as const;
  const sessions = await holdSessions();
  const views = [watch.open(callers[0])];
  await sessions.untilAwaited();
  views.push(watch.open(callers[1]));
  for (const view of views) await view.wait(0);
  await sessions.letGo();
  for (const view of views) await view.wait(60_000);
  assert.equal(
    views.map(({ ended }) => ended),
    [undefined, undefined],
  );
});

/** Timers that keep this process alive. */
const timers = () => process.getActiveResourcesInfo().filter((resource) => resource === "Timeout").length;

test("a watch that is closed while it looks leaves no timer behind", async () => {
  const before = timers();
  {
    await using database = await openDatabase({ url });
    const watch = watchOf(database);
    const caller = await logInTo(database);
    const sessions = await holdSessions();
    watch.open(caller);
    await sessions.untilAwaited();
    const closed = watch[Symbol.asyncDispose]();
    await Promise.all([closed, sessions.letGo()]);
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
