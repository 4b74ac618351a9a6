/** `If-Match` and Idempotency-Key where requests meet: what was judged is what is changed, and a repetition is no change. */
import * as assert from "uvu/assert";
import { findPeer, type Store, settle, startNode, type TestNode } from "../harness/node.ts";
import { approveScripted, type ScriptedPeer, startPeer } from "../harness/peer.ts";
import { joinPlatform, sealNext, sealProject, type TestPlatform } from "../harness/platform.ts";
import type { Json, Rest, RestAnswer } from "../harness/rest.ts";
import { freshDatabaseUrl, noPostgres } from "../harness/servers.ts";
import { skipSuite, suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

const hasPostgres = (await freshDatabaseUrl()) !== undefined;
const atOnce = 8;

for (const store of ["pglite", "postgres"] as const satisfies readonly Store[]) {
  const name = `preconditions on ${store}`;
  const test = store === "postgres" && !hasPostgres ? skipSuite(name, noPostgres) : suite(name);
  let node: TestNode;
  let peer: ScriptedPeer;
  let owner: TestPlatform;
  let grantee: TestPlatform;

  test.before(async () => {
    [node, peer] = await Promise.all([startNode({ store }), startPeer()]);
    await approveScripted(node, peer);
    [owner, grantee] = [await joinPlatform(node, "owner"), await joinPlatform(node, "grantee")];
  });
  test.after(async () => void (await Promise.all([node[Symbol.asyncDispose](), peer[Symbol.asyncDispose]()])));

  const tagOf = async (rest: Rest, path: string) => String((await rest.call("GET", path)).headers.etag);
  const outcomeOf = ({ status, body }: RestAnswer) => (status < 300 ? status : `${status} ${String(body.code)}`);
  /** A peer's lane moves by itself. */
  const withoutLane = ({ lane: _, ...body }: Json) => body;
  const project = async (code: string) => {
    const object = await sealProject(owner, { code });
    const { id } = await owner.rest.ok("POST", "/projects", { object });
    return { object, path: `/projects/${String(id)}` };
  };

  /** Changes that differ, at once and with one tag: one is made, and stands; the others are refused. */
  async function assertOneWins(rest: Rest, path: string, bodies: readonly unknown[]): Promise<void> {
    const tag = await tagOf(rest, path);
    const answers = await Promise.all(bodies.map((body) => rest.call("PATCH", path, body, { "if-match": tag })));
    const [won, ...others] = answers.toSorted((one, other) => one.status - other.status);
    assert.equal(answers.map(outcomeOf).sort(), [200, ...others.map(() => "412 precondition_failed")]);
    assert.equal(withoutLane(await rest.ok("GET", path)), withoutLane(won?.body ?? {}));
  }
  const each = (body: (number: number) => unknown) => Array.from({ length: atOnce }, (_, number) => body(number));

  test("of several changes with one tag one is made: of a framework", async () => {
    const { id } = await node.admin.ok("POST", "/projects/frameworks", { name: "Contended", kind: "other" });
    await assertOneWins(
      node.admin,
      `/projects/frameworks/${String(id)}`,
      each((number) => ({ reference: `R-${number}` })),
    );
  });

  test("of several changes with one tag one is made: of a platform", async () => {
    await assertOneWins(
      node.admin,
      `/platforms/${grantee.id}`,
      each((number) => ({ name: `Renamed ${number}` })),
    );
  });

  test("of several changes with one tag one is made: of an access key", async () => {
    const { id } = await node.admin.ok("POST", "/platforms/access-keys", { platform_id: owner.id });
    await assertOneWins(
      node.admin,
      `/platforms/access-keys/${String(id)}`,
      each((number) => ({ label: `label ${number}` })),
    );
  });

  test("of several changes with one tag one is made: of a peer", async () => {
    const { id } = (await findPeer(node, peer.origin)) as Json;
    await assertOneWins(
      node.admin,
      `/peers/${String(id)}`,
      each((number) => ({ policy: { per_day: 1000 + number } })),
    );
  });

  test("a peer may be edited by its tag although deliveries to it went on meanwhile", async () => {
    const { id, lane } = (await findPeer(node, peer.origin)) as Json;
    const tag = await tagOf(node.admin, `/peers/${String(id)}`);
    peer.answerWith(() => ({ status: 503 }));
    await node.admin.ok("PATCH", `/platforms/${owner.id}`, { name: "Told to all peers" });
    await until("the lane has moved", async () => {
      const now = (await findPeer(node, peer.origin))?.lane as Json;
      return JSON.stringify(now.last_error) !== JSON.stringify((lane as Json).last_error);
    });
    const edit = (perDay: number) =>
      node.admin.call("PATCH", `/peers/${String(id)}`, { policy: { per_day: perDay } }, { "if-match": tag });
    const edited = await edit(17);
    assert.is(outcomeOf(edited), 200);
    assert.is(edited.headers.etag, await tagOf(node.admin, `/peers/${String(id)}`));
    assert.is(outcomeOf(await edit(18)), "412 precondition_failed", "the edit itself is seen");
    peer.answerWith(undefined);
  });

  test("of several changes with one tag one is made: of a project", async () => {
    const { object, path } = await project("CONTENDED");
    const revisions = each((number) => sealNext(owner, object, { grants: [], clear: { name: `Name ${number}` } }));
    const bodies = (await Promise.all(revisions)).map((next) => ({ object: next }));
    await assertOneWins(owner.rest, path, bodies);
  });

  test("what changed since is not removed either", async () => {
    const { object, path } = await project("KEPT");
    const stale = { "if-match": await tagOf(owner.rest, path) };
    await owner.rest.ok("PATCH", path, { object: await sealNext(owner, object, { grants: [] }) });
    assert.is(outcomeOf(await owner.rest.call("DELETE", path, undefined, stale)), "412 precondition_failed");
    const fresh = { "if-match": await tagOf(owner.rest, path) };
    assert.is(outcomeOf(await owner.rest.call("DELETE", path, undefined, fresh)), 204);

    const leaver = await joinPlatform(node, `leaver-${store}`);
    const [platform, key] = [`/platforms/${leaver.id}`, await newKey(leaver)];
    const [platformTag, keyTag] = [await tagOf(node.admin, platform), await tagOf(node.admin, key)];
    await node.admin.ok("PATCH", platform, { name: "Stays" });
    await node.admin.ok("PATCH", key, { label: "stays" });
    const remove = async (tag: string) =>
      outcomeOf(await node.admin.call("DELETE", platform, undefined, { "if-match": tag }));
    const archive = async (tag: string) =>
      outcomeOf(await node.admin.call("PATCH", `${key}/archive`, {}, { "if-match": tag }));
    assert.equal([await archive(keyTag), await remove(platformTag)], Array(2).fill("412 precondition_failed"));
    const [nowKey, nowPlatform] = [await tagOf(node.admin, key), await tagOf(node.admin, platform)];
    assert.equal([await archive(nowKey), await remove(nowPlatform)], [200, 204]);
  });

  async function newKey({ id }: TestPlatform): Promise<string> {
    const key = await node.admin.ok("POST", "/platforms/access-keys", { platform_id: id });
    return `/platforms/access-keys/${String(key.id)}`;
  }

  test("a repetition under its key has the first answer, although what it asked for has changed the tag", async () => {
    const { object, path } = await project("REPEATED");
    const headers = { "if-match": await tagOf(owner.rest, path), "idempotency-key": `share-${store}` };
    const shared = await sealNext(owner, object, { grants: [{ to: grantee }] });
    const share = (body: Json) => owner.rest.call("POST", `${path}/share`, { object: body }, headers);
    const first = await share(shared);
    assert.is(first.status, 200, JSON.stringify(first.body));
    const again = await share(shared);
    assert.equal([again.status, again.text], [200, first.text]);
    const another = await sealNext(owner, shared, { grants: [] });
    assert.is(outcomeOf(await share(another)), "409 idempotency_conflict");
  });

  test("a repetition asks the other side nothing: of a request, an opening and an approval", async () => {
    await using stranger = await startPeer();
    const once = (key: string) => ({ "idempotency-key": `${key}-${store}` });
    /** The first answer, for as long as nothing that is sent could have given it. */
    const repeats = async (path: string, body: Json, key: string, between: () => Promise<unknown> = async () => {}) => {
      const first = await node.admin.call("POST", path, body, once(key));
      assert.ok(first.status < 300, JSON.stringify(first.body));
      await between();
      const asked = stranger.requests.length;
      const again = await node.admin.call("POST", path, body, once(key));
      assert.equal(
        [again.status, again.text, again.headers.location],
        [first.status, first.text, first.headers.location],
      );
      const other = await node.admin.call("POST", path, { ...body, fingerprint: "another" }, once(key));
      assert.is(outcomeOf(other), path.endsWith("/open") ? "400 unknown_member" : "409 idempotency_conflict");
      assert.equal(stranger.requests.slice(asked), []);
      return first.body;
    };

    const { id } = await repeats("/peers", { origin: stranger.origin }, "request", () => settle(node));
    const peerPath = `/peers/${String(id)}`;
    await node.admin.ok("POST", `${peerPath}/revoke`, {});
    await settle(node);
    await stranger.post(node.origin, stranger.activity({ type: "Follow", object: `${node.origin}/actor` }));
    await repeats(`${peerPath}/open`, {}, "open");
    await repeats(`${peerPath}/approve`, {}, "approve", async () => {
      await settle(node);
      await node.admin.ok("POST", `${peerPath}/suspend`, {});
    });
  });

  test("a key under which a precondition failed is free for the request that reads again", async () => {
    const { object, path } = await project("AGAIN");
    const stale = await tagOf(owner.rest, path);
    const second = await sealNext(owner, object, { grants: [] });
    await owner.rest.ok("PATCH", path, { object: second });
    const shared = await sealNext(owner, second, { grants: [{ to: grantee }] });
    const share = (tag: string) =>
      owner.rest.call(
        "POST",
        `${path}/share`,
        { object: shared },
        { "if-match": tag, "idempotency-key": `again-${store}` },
      );
    assert.is(outcomeOf(await share(stale)), "412 precondition_failed");
    assert.is(outcomeOf(await share(await tagOf(owner.rest, path))), 200);
  });

  test("changes of different members at once are all there afterwards", async () => {
    const key = await newKey(owner);
    const { id } = (await findPeer(node, peer.origin)) as Json;
    const end = "2031-01-01T00:00:00.000Z";
    await Promise.all([
      node.admin.ok("PATCH", key, { label: "one" }),
      node.admin.ok("PATCH", key, { end_datetime: end }),
      node.admin.ok("PATCH", `/peers/${String(id)}`, { policy: { per_minute: 7 } }),
      node.admin.ok("PATCH", `/peers/${String(id)}`, { policy: { per_day: 11 } }),
      node.admin.ok("PATCH", `/peers/${String(id)}`, { policy: { activities: ["Create"] } }),
    ]);
    const { label, end_datetime } = await node.admin.ok("GET", key);
    assert.equal([label, end_datetime], ["one", end]);
    const { policy } = await node.admin.ok("GET", `/peers/${String(id)}`);
    assert.equal(policy, { platforms: "all", activities: ["Create"], per_minute: 7, per_day: 11 });
  });

  test.run();
}
