// time limit: 240 s
import pg from "pg";
import * as assert from "uvu/assert";
import { mintId } from "../../src/protocol/ids.ts";
import { limits } from "../../src/protocol/limits.ts";
import { type Store, startNode, type TestNode } from "../harness/node.ts";
import { approveScripted, type ScriptedPeer, startPeer } from "../harness/peer.ts";
import { makePlatformKeys } from "../harness/platform.ts";
import type { Json } from "../harness/rest.ts";
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { pause, until } from "../harness/until.ts";
import type { Answer } from "../harness/wire.ts";

/** Activities that arrive together share a transaction, and yet nothing but the time of arrival. */
const hasPostgres = (await freshDatabaseUrl()) !== undefined;

for (const store of ["pglite", "postgres"] as const satisfies readonly Store[]) {
  const name = `group commit on ${store}`;
  const test = store === "postgres" && !hasPostgres ? skipSuite(name, noPostgres) : suite(name);
  let node: TestNode;
  let peer: ScriptedPeer;

  test.before(async () => {
    [node, peer] = await Promise.all([startNode({ store }), startPeer()]);
    await approveScripted(node, peer);
  });
  test.after(async () => void (await Promise.all([node[Symbol.asyncDispose](), peer[Symbol.asyncDispose]()])));

  const post = (activity: Json) => peer.post(node.origin, activity);
  const like = (members: Json = {}) => peer.activity({ type: "Like", object: `${peer.origin}/notes/1`, ...members });
  const tombstone = (uri = mintId(peer.origin, "projects")) =>
    peer.activity({ type: "Delete", object: { id: uri, type: "Tombstone", attributedTo: peer.actor } });
  /** Tells of a platform, which is stored, and then of a project that is for nobody here. */
  const forNobody = async (): Promise<Json> => {
    const { uri, membership, bundle } = await makePlatformKeys(`${peer.origin}/platforms/refused`);
    return peer.activity({
      type: "Create",
      object: {
        id: mintId(peer.origin, "projects"),
        type: ["Document", "hf:Project"],
        attributedTo: peer.actor,
        "hf:code": "X",
        "hf:grants": [],
        "hf:revision": 1,
      },
      "hf:bundles": [{ actor: uri, membership, bundles: [bundle] }],
    });
  };
  const outcomeOf = ({ status, body }: Answer) => `${status} ${String(body.code)}`;
  const tables = async (): Promise<Record<string, string[]>> => {
    await node.stop();
    const dumped = await node.dump();
    await node.start();
    return dumped;
  };

  test("each has its own answer, receipt and entry, and a bad one takes back nothing but itself", async () => {
    const before = await tables();
    const again = like();
    const bad = await forNobody();
    const conflicting = like();
    const sent: (readonly [Json, string])[] = [];
    for (let round = 0; round < 12; round += 1) {
      sent.push([like(), "202 undefined"], [tombstone(), "202 undefined"], [again, "202 undefined"]);
      sent.push([{ ...bad, id: mintId(peer.origin, "activities") }, "403 not_for_us"]);
      sent.push([like({ id: "http://127.0.0.1:9/activities/1" }), "403 foreign_id"]);
    }
    assert.is((await post(conflicting)).status, 202);
    sent.push([{ ...conflicting, content: "other" }, "409 content_conflict"]);
    const answers = await Promise.all(sent.map(([activity]) => post(activity)));
    assert.equal(
      answers.map(outcomeOf),
      sent.map(([, outcome]) => outcome),
    );
    const receipts = answers.flatMap(({ body }, at) => (body.receipt ? [[sent[at]?.[0].id, body.receipt]] : []));
    assert.is(new Set(receipts.map(([, receipt]) => receipt)).size, new Set(receipts.map(([id]) => id)).size);

    const after = await tables();
    const added = (table: string) => (after[table] ?? []).filter((row) => !before[table]?.includes(row));
    assert.is(added("received_activities").length, 12 + 12 + 1 + 1);
    assert.is(added("objects").length, 12);
    assert.equal(added("key_bundles"), [], "what the refused ones told is not kept");
    const actions = added("journal").map((row) => (JSON.parse(row) as Json).action);
    const count = (action: string) => actions.filter((one) => one === action).length;
    assert.is(count("activity.unhandled"), 12 + 1 + 1);
    assert.is(count("activity.applied"), 12);
    assert.is(count("project.deleted"), 12);
    assert.is(count("activity.refused"), 12 + 12 + 1);
    assert.is((await node.admin.ok("GET", "/audit/verification")).verified, true);
  });

  test("the same activity many times at once has one effect and one receipt, alone and in batches", async () => {
    const activity = tombstone();
    const alone = Array.from({ length: 20 }, () => post(activity));
    const batches = Array.from({ length: 3 }, () =>
      peer.post(node.origin, [activity, like(), activity], { path: "/batch-inbox" }),
    );
    const receipts = [
      ...(await Promise.all(alone)).map(({ body }) => body.receipt),
      ...(await Promise.all(batches)).flatMap(({ body }) => {
        const [first, , last] = body.results as Json[];
        return [first?.receipt, last?.receipt];
      }),
    ];
    assert.type(receipts[0], "string");
    assert.is(new Set(receipts).size, 1);
    const audit = await node.admin.list("/audit");
    assert.is(audit.filter(({ object, action }) => object === activity.id && action === "activity.applied").length, 1);
  });

  test("two contents under one id: one is accepted, the other is a conflict", async () => {
    const activity = like();
    const contents = Array.from({ length: 8 }, (_, at) => ({ ...activity, content: `${at % 2}` }));
    const outcomes = (await Promise.all(contents.map(post))).map(outcomeOf);
    assert.is(outcomes.filter((outcome) => outcome === "202 undefined").length, 4);
    assert.is(outcomes.filter((outcome) => outcome === "409 content_conflict").length, 4);
  });

  if (store === "postgres") {
    /** Somebody else who changes an object, until that transaction or its connection ends. */
    const holdObject = async (uri: string) => {
      const holder = new pg.Client({ connectionString: node.databaseUrl });
      await holder.connect();
      await holder.query("begin");
      await holder.query("select pg_advisory_xact_lock(hashtextextended($1, 0))", [uri]);
      return Object.assign(holder, { [Symbol.asyncDispose]: () => holder.end() });
    };

    test("one that waits for an object that somebody else changes holds none of its group, nor the next ones", async () => {
      const uri = mintId(peer.origin, "projects");
      await using holder = await holdObject(uri);
      let answered = false;
      const several = () => Array.from({ length: 15 }, () => post(tombstone()));
      const before = several();
      // In the midst of the others, whose transaction it shares.
      const waits = post(tombstone(uri)).finally(() => {
        answered = true;
      });
      const others = await Promise.all([...before, ...several()]);
      assert.equal(new Set(others.map(outcomeOf)), new Set(["202 undefined"]));
      await until("the next ones come through as well", async () => (await post(like())).status === 202);
      assert.is(answered, false);
      await holder.query("rollback");
      assert.is((await waits).status, 202);
    });

    test("those that wait for each other have the time of one: 503 before a peer gives up", async () => {
      const uri = mintId(peer.origin, "projects");
      await using _holder = await holdObject(uri);
      const answers = Promise.all(Array.from({ length: 4 }, () => post(tombstone(uri))));
      // One after the other, each waits for the lock until its statement ends, after 5 seconds: 20 in all.
      const outcomes = await Promise.race([
        answers.then((all) => all.map(outcomeOf)),
        pause(limits.requestMilliseconds).then(() => "none in time"),
      ]);
      assert.equal(outcomes, Array(4).fill("503 unavailable"));
    });
  }

  test.run();
}
