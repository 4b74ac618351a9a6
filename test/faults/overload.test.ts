import pg from "pg";
import * as assert from "uvu/assert";
import { startNode } from "../harness/node.ts";
import { approveScripted, startPeer } from "../harness/peer.ts";
import type { Json } from "../harness/rest.ts";
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";

/** More than a node stores in the time that it is given. */
const hasPostgres = (await freshDatabaseUrl()) !== undefined;
const test = hasPostgres ? suite("overload") : skipSuite("overload", noPostgres);

/** Of 100 activities that weigh 32 KiB each: 20 of them are what may wait to be stored. */
const batches = 24;
const content = "x".repeat(16 * 1024);

interface Result {
  readonly id: string;
  readonly status: number;
  readonly problem?: Json;
}
interface Answered {
  readonly activities: readonly Json[];
  readonly results: readonly Result[];
}

test("what is beyond 64 MiB that wait to be stored is answered 503 at once, and nothing of it is stored", async () => {
  await using node = await startNode({ store: "postgres" });
  await using peer = await startPeer();
  await approveScripted(node, peer);
  const like = (members: Json) => peer.activity({ type: "Like", object: `${peer.origin}/notes/1`, ...members });
  const sent = Array.from({ length: batches }, () => Array.from({ length: 100 }, () => like({ content })));
  const bodies = sent.map((activities) => JSON.stringify(activities));

  const other = new pg.Client({ connectionString: node.databaseUrl });
  await other.connect();
  await other.query("begin");
  await other.query("lock table received_activities in access exclusive mode");
  const answers = bodies.map(async (body, at): Promise<Answered> => {
    const answer = await peer.post(node.origin, null, { path: "/batch-inbox", body });
    return { activities: sent[at] ?? [], results: answer.body.results as Result[] };
  });
  const refused = await Promise.race(answers);
  await other.query("rollback");
  await other.end();

  for (const { status, problem } of refused.results) {
    assert.is(status, 503);
    assert.is(problem?.code, "unavailable");
    // Not that the database did not answer in time, which is what those that wait would hear in the end.
    assert.match(String(problem?.detail), /^Too much is waiting to be stored/);
    assert.ok(Number(problem?.retry_after) > 0);
  }
  const results = (await Promise.all(answers)).flatMap((one) => one.results);
  const accepted = results.filter(({ status }) => status === 202).map(({ id }) => id);
  assert.ok(accepted.length > 0);
  const rows = await node.query("select id from received_activities where type = 'Like'");
  assert.equal(rows.map(({ id }) => String(id)).sort(), accepted.sort());
  assert.is((await peer.post(node.origin, refused.activities[0])).status, 202, "there is room again");
});

test.run();
