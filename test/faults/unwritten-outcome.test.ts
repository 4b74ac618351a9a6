import * as assert from "uvu/assert";
import { makePeers, settle, startNode, type TestNode } from "../harness/node.ts";
import { joinPlatform, readProject, sealProject, type TestPlatform, untilKnown } from "../harness/platform.ts";
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

/**
 * An outcome that the sender's database does not take: the receiver has accepted, and the sender cannot know it. It sends
 * again, and the receiver answers from what it has accepted.
 */
const hasPostgres = (await freshDatabaseUrl()) !== undefined;
const test = hasPostgres
  ? suite("an outcome that cannot be written")
  : skipSuite("an outcome that cannot be written", noPostgres);

let sender: TestNode;
let receiver: TestNode;
let owner: TestPlatform;
let reader: TestPlatform;
test.before(async () => {
  [sender, receiver] = await Promise.all([startNode({ store: "postgres" }), startNode({ store: "postgres" })]);
  await makePeers(sender, receiver);
  owner = await joinPlatform(sender, "owner");
  reader = await joinPlatform(receiver, "reader");
  await untilKnown(owner, reader);
  await settle(sender, receiver);
});
test.after(async () => void (await Promise.all([sender, receiver].map((node) => node[Symbol.asyncDispose]()))));

/** Has the sender's database do `refusal` to whoever writes that something was delivered, and count that. */
async function refuseOutcomes(refusal: string): Promise<void> {
  // A sequence keeps its count, whatever becomes of the transaction.
  await sender.query(`
    create sequence refusals;
    create function refuse() returns trigger language plpgsql as $$
      begin perform nextval('refusals'); ${refusal}; return new; end $$;
    create trigger refuse before update on deliveries for each row when (new.state = 'delivered')
      execute function refuse()`);
}
const takeOutcomes = () => sender.query("drop function refuse cascade; drop sequence refusals");

/** Value of a query that gives one. */
async function count(node: TestNode, what: string): Promise<number> {
  return Number((await node.query(`select count(*) as n from ${what}`))[0]?.n);
}

for (const [what, refusal] of [
  ["refuses", "raise exception 'no'"],
  ["cuts off", "perform pg_terminate_backend(pg_backend_pid())"],
] as const) {
  test(`is made up for by sending again, where the database ${what} who writes it`, async () => {
    await refuseOutcomes(refusal);
    const object = await sealProject(owner, { code: what, grants: [{ to: reader }] });
    await owner.rest.ok("POST", "/projects", { object });
    await until("it was sent twice", async () => {
      return Number((await sender.query("select last_value as n from refusals"))[0]?.n) >= 2;
    });
    const about = `where object_uri = '${String(object.id)}'`;
    const sent = `deliveries join activities on activities.id = activity_id ${about}`;
    assert.is(await count(sender, `${sent} and state = 'queued'`), 1, "nothing was written");
    assert.is((await readProject(reader, String(object.id)))?.revision, 1, "it was accepted");
    await takeOutcomes();
    await settle(sender);

    assert.is(await count(sender, `${sent} and state = 'delivered'`), 1);
    assert.is(await count(sender, sent), 1);
    assert.is(await count(receiver, `received_activities ${about}`), 1);
    const [own] = await receiver.query(`select id, receipt from received_activities ${about}`);
    const [got] = await sender.query(`select activity_id as id, receipt from ${sent}`);
    assert.equal(got, own, "the receipt is the one of the first time");
    assert.is(await count(receiver, `journal where object = '${String(object.id)}'`), 1, "it had its effect once");
  });
}

test.run();
