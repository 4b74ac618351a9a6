// time limit: 180 s
import pg from "pg";
import * as assert from "uvu/assert";
import { heldOctets } from "../../src/http/body.ts";
import { startNode, type TestNode } from "../harness/node.ts";
import { approveScripted, type ScriptedPeer, startPeer } from "../harness/peer.ts";
import type { Json } from "../harness/rest.ts";
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/** More than a node stores in the time that it is given. */
const hasPostgres = (await freshDatabaseUrl()) !== undefined;
const test = hasPostgres ? suite("overload") : skipSuite("overload", noPostgres);

/** Of 100 activities that weigh 32 KiB each: 20 of them are what may wait to be stored. */
const batches = 24;
const rounds = 4;
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

const isTooMuch = ({ problem }: Result) => String(problem?.detail).startsWith("Too much is waiting to be stored");

/** All of them at one moment, while nothing can be stored: on a busy machine the first would be given up before the last is sent. */
async function flood(node: TestNode, peer: ScriptedPeer): Promise<readonly Answered[]> {
  const like = () => peer.activity({ type: "Like", object: `${peer.origin}/notes/1`, content });
  const sent = Array.from({ length: batches }, () => Array.from({ length: 100 }, like));
  const bodies = sent.map((activities) => JSON.stringify(activities));
  let end: () => void = () => {};
  const lastOctet = new Promise<void>((resolve) => {
    end = resolve;
  });
  const answers = bodies.map(async (body, at): Promise<Answered> => {
    const answer = await peer.post(node.origin, null, { path: "/batch-inbox", body, lastOctet });
    return { activities: sent[at] ?? [], results: answer.body.results as Result[] };
  });
  const octets = bodies.reduce((sum, body) => sum + body.length - 1, 0);
  await until("all but the last octets have come", () => heldOctets() === octets);
  const other = new pg.Client({ connectionString: node.databaseUrl });
  await other.connect();
  await other.query("begin");
  await other.query("lock table received_activities in access exclusive mode");
  end();
  await Promise.race(answers);
  await other.end();
  return await Promise.all(answers);
}

test("what is beyond 64 MiB that wait to be stored is answered 503 at once, and nothing of it is stored", async () => {
  await using node = await startNode({ store: "postgres" });
  await using peer = await startPeer();
  await approveScripted(node, peer);
  const answers: Answered[] = [];
  const findRefused = () => answers.find(({ results }) => results.every(isTooMuch));
  // A machine that is too busy to bring as much in the time of a statement is given more chances.
  for (let round = 0; round < rounds && !findRefused(); round += 1) answers.push(...(await flood(node, peer)));
  const refused = findRefused();
  assert.ok(refused, "nothing was too much");

  for (const { status, problem } of refused.results) {
    assert.is(status, 503);
    assert.is(problem?.code, "unavailable");
    assert.ok(Number(problem?.retry_after) > 0);
  }
  const results = answers.flatMap((one) => one.results);
  const accepted = results.filter(({ status }) => status === 202);
  assert.ok(accepted.length > 0);
  const rows = await node.query("select id from received_activities where type = 'Like'");
  const stored = new Set(rows.map(({ id }) => id));
  assert.equal(
    accepted.filter(({ id }) => !stored.has(id)),
    [],
  );
  // Not those that were given up: what has begun may be stored yet.
  assert.equal(
    results.filter((result) => isTooMuch(result) && stored.has(result.id)),
    [],
  );
  assert.is((await peer.post(node.origin, refused.activities[0])).status, 202, "there is room again");
});

test.run();
