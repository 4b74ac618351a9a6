import * as assert from "uvu/assert";
import { judgeMembership } from "../../src/crypto/membership.ts";
import { joinInstance, listInstances, selectMembership } from "../../src/sdk/memberships.ts";
import { listProjects } from "../../src/sdk/project-views.ts";
import { declareProject } from "../../src/sdk/projects.ts";
import { suite } from "../harness/suite.ts";
import { createInstance, now, refusalOf, withClient } from "./scripted-instance.ts";

const test = suite("memberships");

const ouest = "https://ouest.example";
const paris = "https://paris.example";

test("joins two instances with one identity: the same bundle, a membership for each", async () => {
  const instances = [createInstance(ouest), createInstance(paris)];
  await withClient(instances, async (client) => {
    const first = await joinInstance(client, { origin: ouest, handle: "ap-hp", accessKey: "one" });
    const second = await joinInstance(client, { origin: paris, handle: "ap-hp", accessKey: "two" });
    assert.is(first.identity_created, true);
    assert.is(second.identity_created, false);
    assert.is(first.fingerprint, second.fingerprint);

    const published = instances.map(({ received }) => received.at(-1)?.body ?? {});
    assert.equal(published[0]?.bundle, published[1]?.bundle);
    for (const [at, { origin }] of instances.entries()) {
      const verdict = await judgeMembership({
        membership: published[at]?.membership,
        bundle: published[at]?.bundle,
        actor: `${origin}/platforms/ap-hp`,
        now: Math.floor(now.getTime() / 1000),
      });
      assert.is(verdict.accepted, true);
    }
    assert.equal(
      (await client.vault.read()).memberships.map(({ origin, accessKey }) => [origin, accessKey]),
      [
        [ouest, "one"],
        [paris, "two"],
      ],
    );
  });
});

test("joins again with another access key without a second membership", async () => {
  await withClient([createInstance(ouest)], async (client) => {
    await joinInstance(client, { origin: ouest, handle: "ap-hp", accessKey: "one" });
    await joinInstance(client, { origin: ouest, handle: "ap-hp", accessKey: "two" });
    assert.equal(
      (await client.vault.read()).memberships.map(({ accessKey }) => accessKey),
      ["two"],
    );
  });
});

test("signs no membership for an actor that lies on another origin than the instance", async () => {
  const instance = createInstance(ouest);
  instance.loginUri = (handle) => `${paris}/platforms/${handle}`;
  await withClient([instance], async (client) => {
    const join = () => joinInstance(client, { origin: ouest, handle: "ap-hp", accessKey: "one" });
    assert.is((await refusalOf(join)).code, "unexpected_actor");
    assert.equal(instance.received, []);
    assert.equal((await client.vault.read()).memberships, []);
  });
});

test("asks which instance is meant where several fit, by origin or host", async () => {
  await withClient([createInstance(ouest), createInstance(paris)], async (client) => {
    await joinInstance(client, { origin: ouest, handle: "ap-hp", accessKey: "one" });
    await joinInstance(client, { origin: paris, handle: "ap-hp", accessKey: "two" });
    const state = await client.vault.read();
    const refused = await refusalOf(async () => selectMembership(state));
    assert.is(refused.code, "several_memberships");
    assert.is(selectMembership(state, paris).origin, paris);
    assert.is(selectMembership(state, "ouest.example").origin, ouest);
    assert.is((await refusalOf(async () => selectMembership(state, "lyon.example"))).code, "no_membership");
  });
});

test("names the instance that does not answer beside the rows of the others", async () => {
  const instance = createInstance(ouest);
  await withClient([instance], async (client) => {
    await joinInstance(client, { origin: ouest, handle: "ap-hp", accessKey: "key" });
    const [membership] = (await client.vault.read()).memberships;
    if (membership === undefined) throw new Error("did not join");
    await declareProject(client, membership, { code: "A", sealed: {} });
    // Joined once, and away since.
    const away = { ...membership, origin: paris, actor: `${paris}/platforms/ap-hp` };
    await client.vault.update((state) => ({ ...state, memberships: [...state.memberships, away] }));

    const { items, unreachable } = await listProjects(client);
    assert.equal(
      items.map((row) => [row.instance, row.code]),
      [[ouest, "A"]],
    );
    assert.equal(
      unreachable.map(({ instance, code }) => [instance, code]),
      [[paris, "instance_unreachable"]],
    );
    const states = (await listInstances(client)).map(({ origin, state }) => [origin, state]);
    assert.equal(states[1], [paris, "instance_unreachable"]);
  });
});

test.run();
