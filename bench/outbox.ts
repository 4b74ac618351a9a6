/**
 * `outbox.*`: single deliveries that one node sends in a second, signed with Ed25519, each receipt verified and written
 * down. What is to be delivered waits in the database; the clock runs at the receivers, which are one process with as many
 * addresses. Beside it a loop that only signs and posts the same activities to them.
 */
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { Pool } from "undici";
import { mintId } from "../src/protocol/ids.ts";
import { signRequest } from "../src/signatures/sign.ts";
import { sendDraftCavage } from "../test/harness/draft-cavage.ts";
import { settle, type TestNode } from "../test/harness/node.ts";
import { until } from "../test/harness/until.ts";
import { type ChildServer, startChild } from "./child-server.ts";
import { type Benchmark, type Figure, figureOf, type Profile } from "./figure.ts";
import { startMeasured } from "./nodes.ts";
import type { Arrivals, ReceiverKeys } from "./receiver.ts";

const n = 6_000;
const warmUp = 400;

interface Receivers extends AsyncDisposable {
  readonly origins: readonly string[];
  readonly rsa: KeyObject;
  readonly arrivals: (from: number) => Promise<Arrivals>;
}

async function startReceivers(count: number): Promise<Receivers> {
  const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const ed25519 = generateKeyPairSync("ed25519");
  const keys: ReceiverKeys = {
    rsa: rsa.publicKey.export({ format: "pem", type: "spki" }).toString(),
    ed25519: ed25519.privateKey.export({ format: "pem", type: "pkcs8" }).toString(),
  };
  const server: ChildServer<number> = await startChild<number>("receiver", keys);
  return {
    origins: Array.from({ length: count }, (_, at) => `http://127.0.1.${at + 1}:${server.ready}`),
    rsa: rsa.privateKey,
    arrivals: (from) =>
      new Promise((resolve) => {
        server.child.once("message", (arrivals) => resolve(arrivals as Arrivals));
        server.child.send({ from });
      }),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** Makes a receiver an approved peer: both ask, which is how both say yes. */
async function approve(node: TestNode, { rsa }: Receivers, origin: string): Promise<void> {
  await node.admin.ok("POST", "/peers", { origin });
  const actor = `${origin}/actor`;
  const follow = {
    "@context": "https://www.w3.org/ns/activitystreams",
    id: mintId(origin, "activities"),
    type: "Follow",
    actor,
    object: `${node.origin}/actor`,
  };
  const signing = { keyId: `${actor}#main-key`, privateKey: rsa };
  const answer = await sendDraftCavage(node.origin, Buffer.from(JSON.stringify(follow)), signing);
  if (answer.status !== 202) throw new Error(`the Follow was answered ${answer.status} ${JSON.stringify(answer.body)}`);
}

/** Writes activities of 1 KiB into the outbox of a node that is stopped: as many, one after the other, for each peer or for all of them. */
async function fillOutbox(node: TestNode, activities: number, toEveryPeer: boolean): Promise<void> {
  const body = `json_build_object('@context', 'https://www.w3.org/ns/activitystreams', 'id', id, 'type', 'Like',
    'actor', '${node.origin}/actor', 'object', id || '#o', 'content', repeat('x', 800), 'hf:protocol', 1)`;
  await node.query(`
    insert into activities (id, type, actor, digest, body, created_at)
    select id, 'Like', '${node.origin}/actor', '', ${body}, now()
    from (select '${node.origin}/activities/bench-' || n as id from generate_series(1, ${activities}) as n) as named`);
  await node.query(`
    insert into deliveries (id, activity_id, peer_id, inbox, recipients, state, next_attempt_at, created_at)
    select gen_random_uuid(), a.id, p.id, p.inbox, '{}', 'queued', now(), now()
    from (select id, row_number() over (order by id) as at from activities where id like '%/bench-%') as a
    join (select id, inbox, row_number() over (order by origin) as at, count(*) over () as peers from peers) as p
      on ${toEveryPeer ? "true" : "a.at % p.peers = p.at - 1"}
    order by a.at`);
}

/** Deliveries a second of a node that has `count` peers. */
async function measureNode(profile: Profile, count: number, toEveryPeer: boolean): Promise<number> {
  await using receivers = await startReceivers(count);
  await using measured = await startMeasured(profile);
  const { node } = measured;
  for (const origin of receivers.origins) await approve(node, receivers, origin);
  await settle(node);
  await node.stop();
  await fillOutbox(node, (warmUp + n) / (toEveryPeer ? count : 1), toEveryPeer);
  await node.start();
  await until("all is delivered", async () => (await receivers.arrivals(0)).count >= warmUp + n, 600_000);
  await settle(node);
  const { count: arrived, first, last } = await receivers.arrivals(warmUp);
  await node.stop();
  await requireDelivered(node, arrived);
  return n / ((last - first) / 1000);
}

/** @throws when an activity came more than once, or the node has not written down that it was delivered */
async function requireDelivered(node: TestNode, arrived: number): Promise<void> {
  const rows = await node.query(`select state, count(*)::int as count from deliveries
    where activity_id like '%/bench-%' group by state`);
  const delivered = rows.find(({ state }) => state === "delivered")?.count;
  if (arrived !== warmUp + n || delivered !== arrived)
    throw new Error(`${arrived} arrived; deliveries: ${JSON.stringify(rows)}`);
}

const inFlight = 32;

/** The same requests, signed and posted, with nothing written down and no receipt read. */
async function measureCeiling(): Promise<number> {
  await using receivers = await startReceivers(1);
  const [origin = ""] = receivers.origins;
  const { privateKey } = generateKeyPairSync("ed25519");
  await using pool = Object.assign(new Pool(origin, { connections: inFlight }), {
    async [Symbol.asyncDispose]() {
      await pool.destroy();
    },
  });
  let left = warmUp + n;
  const send = async () => {
    while (left > 0) {
      left -= 1;
      const id = `http://127.0.0.1/activities/bench-${left}`;
      const activity = { id, type: "Like", actor: "http://127.0.0.1/actor", content: "x".repeat(900) };
      const body = Buffer.from(JSON.stringify(activity));
      const headers = await signRequest({
        form: "rfc9421",
        method: "POST",
        url: `${origin}/inbox`,
        headers: { "content-type": "application/activity+json" },
        body,
        keyId: "http://127.0.0.1/actor#ed25519-key",
        privateKey,
        now: new Date(),
      });
      const answer = await pool.request({ method: "POST", path: "/inbox", headers, body });
      await answer.body.dump();
    }
  };
  await Promise.all(Array.from({ length: inFlight }, send));
  const { first, last } = await receivers.arrivals(warmUp);
  return n / ((last - first) / 1000);
}

async function* measureOutbox(
  profile: Profile,
  name: string,
  count: number,
  toEveryPeer: boolean,
): AsyncIterable<Figure> {
  const value = await measureNode(profile, count, toEveryPeer);
  const beside = { what: "signing and posting alone", value: await measureCeiling() };
  yield figureOf({ name, profile, value, unit: "deliveries/s", beside, n });
}

export const outboxBenchmarks: readonly Benchmark[] = [
  { names: ["outbox.single"], run: (profile) => measureOutbox(profile, "outbox.single", 32, false) },
  { names: ["outbox.fanout100"], run: (profile) => measureOutbox(profile, "outbox.fanout100", 100, true) },
];
