// time limit: 120 s
import { generateKeyPairSync } from "node:crypto";
import { createServer, type Socket } from "node:net";
import * as assert from "uvu/assert";
import { parseInvitation } from "../../src/crypto/invitation.ts";
import type { Knobs } from "../harness/draft-cavage.ts";
import { findPeer, startNode, type TestNode } from "../harness/node.ts";
import { type ScriptedPeer, startPeer } from "../harness/peer.ts";
import type { Json } from "../harness/rest.ts";
import { suite } from "../harness/suite.ts";
import { pause, until } from "../harness/until.ts";

/** Peering by one string, without trust at first use (docs/protocol.md, "Peers", Invitation). */
const test = suite("invitations");

let west: TestNode;
let south: TestNode;
let one: ScriptedPeer;
let other: ScriptedPeer;

test.before(async () => {
  // Follows are limited by address; a proxy that is trusted gives each of them its own.
  const environment = { CONCORDAT_TRUST_PROXY: "127.0.0.0/8" };
  [west, south, one, other] = await Promise.all([startNode({ environment }), startNode(), startPeer(), startPeer()]);
});
test.after(async () => {
  await Promise.all([west, south, one, other].map((part) => part[Symbol.asyncDispose]()));
});

const invite = async (wanted: Json = {}) =>
  String((await west.admin.ok("POST", "/peers/invitations", wanted)).invitation);
const tokenOf = (invitation: string) => String(parseInvitation(invitation)?.token);
let addresses = 0;
const addressed = (knobs: Knobs = {}): Knobs => {
  addresses += 1;
  return { ...knobs, headers: [["X-Forwarded-For", `192.0.2.${addresses}`]] };
};
const follow = (from: ScriptedPeer, token: unknown, knobs: Knobs = {}) =>
  from.post(
    west.origin,
    from.activity({ type: "Follow", object: `${west.origin}/actor`, "hf:invitation": token }),
    addressed(knobs),
  );
const stateOf = async (of: { readonly origin: string }) => (await findPeer(west, of.origin))?.state;
/** Changes what an invitation says. */
function forge(invitation: string, members: Json): string {
  const [prefix = "", encoded = ""] = invitation.split(/(?<=^[^.]*\.)/);
  const said = JSON.parse(Buffer.from(encoded, "base64url").toString()) as Json;
  return prefix + Buffer.from(JSON.stringify({ ...said, ...members })).toString("base64url");
}

test("an invitation says where, by which key, until when, and for whom", async () => {
  const issued = await west.admin.ok("POST", "/peers/invitations", { for: south.origin });
  assert.match(String(issued.invitation), /^concordat-invite\.[A-Za-z0-9_-]+$/);
  const said = parseInvitation(issued.invitation);
  assert.is(said?.origin, west.origin);
  assert.is(said?.for, south.origin);
  assert.is(said?.exp, Math.floor(Date.parse(String(issued.expires_at)) / 1000));
  assert.not.ok(JSON.stringify(await west.admin.list("/audit")).includes(tokenOf(String(issued.invitation))));
});

test("what is no invitation is refused, and nothing is asked of anybody", async () => {
  const invitation = await invite();
  for (const text of ["", "concordat-invite.", "hello", `${invitation}=`, forge(invitation, { token: "AAAA" })]) {
    const answer = await south.admin.call("POST", "/peers", { invitation: text });
    assert.is(answer.status, 400, text);
    assert.is(answer.body.code, "invalid");
  }
  const both = await south.admin.call("POST", "/peers", { invitation, origin: west.origin });
  assert.is(both.status, 400);
  assert.is(await findPeer(west, south.origin), undefined);
});

test("the invited node refuses one that is for another, is over, or names another key than the instance has", async () => {
  for (const invitation of [
    await invite({ for: one.origin }),
    forge(await invite(), { exp: Math.floor(Date.now() / 1000) - 1 }),
    forge(await invite(), { key: "A".repeat(43) }),
  ]) {
    const answer = await south.admin.call("POST", "/peers", { invitation });
    assert.is(answer.status, 422);
    assert.is(answer.body.code, "actor_refused");
  }
  assert.is(await findPeer(south, west.origin), undefined);
  assert.is(await findPeer(west, south.origin), undefined, "no Follow was sent");
});

test("a good one makes both peers, and no administrator opens or approves anything", async () => {
  const asked = await south.admin.ok("POST", "/peers", { invitation: await invite({ for: south.origin }) });
  assert.is(asked.origin, west.origin);
  assert.is(asked.state, "pending_out");
  await until("both are peers", async () => {
    return (await stateOf(south)) === "approved" && (await findPeer(south, west.origin))?.state === "approved";
  });
  const approved = (await west.admin.list("/audit")).find(
    ({ action, object }) => action === "peer.approved" && object === south.origin,
  );
  assert.is(approved?.actor, "node");
});

test("a token counts for its origin alone, under the actor's own signature, once", async () => {
  const bound = tokenOf(await invite({ for: other.origin }));
  const free = tokenOf(await invite());
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });

  // Meant for another; then good, but not signed by the actor; then no token at all.
  assert.is((await follow(one, bound)).status, 202);
  assert.is((await follow(one, free, { privateKey })).status, 202);
  assert.is((await follow(one, "not-a-token")).status, 202);
  // The other one's use of the token meant for it passes through the same gate after them.
  assert.is((await follow(other, bound)).status, 202);
  await until("the one it is for is a peer", async () => (await stateOf(other)) === "approved");
  assert.is(await stateOf(one), "pending_in");
  await until("the Accept arrives", () => other.arrivals.some(({ activity }) => activity.type === "Accept"));

  assert.is((await follow(one, free)).status, 202);
  await until("the token was not burnt by what failed", async () => (await stateOf(one)) === "approved");
});

test("a burnt token makes nobody else a peer, and a token that is over makes nobody one", async () => {
  const token = tokenOf(await invite());
  const short = tokenOf(await invite({ expires_at: new Date(Date.now() + 1_500).toISOString() }));
  await using first = await startPeer();
  await using second = await startPeer();
  await using third = await startPeer();
  await using last = await startPeer();
  await follow(first, token);
  await until("the first is a peer", async () => (await stateOf(first)) === "approved");
  await pause(2_600);
  await follow(second, token);
  await follow(third, short);
  await follow(last, tokenOf(await invite()));
  await until("the last is a peer", async () => (await stateOf(last)) === "approved");
  assert.equal([await stateOf(second), await stateOf(third)], ["pending_in", "pending_in"]);
});

test("an invited node that cannot be reached now is admitted once it can be, at the latest when the administrator opens it", async () => {
  await using away = await startPeer();
  const token = tokenOf(await invite());
  const activity = away.activity({ type: "Follow", object: `${west.origin}/actor`, "hf:invitation": token });
  await away.close();
  assert.is((await away.post(west.origin, activity, addressed())).status, 202);
  assert.is(await stateOf(away), "pending_in");
  await away.listen();
  const { id } = (await findPeer(west, away.origin)) as Json;
  const opened = await west.admin.call("POST", `/peers/${String(id)}/open`, {});
  // The node itself asks again each 5 seconds, and may have been quicker.
  if (opened.status === 200) assert.is(opened.body.signature_verified, true);
  else assert.equal([opened.body.code, opened.body.state], ["state_conflict", "approved"]);
  await until("it is a peer", async () => (await stateOf(away)) === "approved");
});

test("an invited node that says nothing keeps no start waiting, and no other invited node", async () => {
  await using away = await startPeer();
  await using beside = await startPeer();
  for (const peer of [away, beside]) {
    const token = tokenOf(await invite());
    const activity = peer.activity({ type: "Follow", object: `${west.origin}/actor`, "hf:invitation": token });
    await peer.close();
    assert.is((await peer.post(west.origin, activity, addressed())).status, 202);
  }
  await west.stop();
  await using silent = await startSilent(new URL(away.origin));
  await beside.listen();
  await west.start();
  await until("the other one is a peer", async () => (await stateOf(beside)) === "approved");
  await until("the silent one is asked", () => silent.asked > 0);
  assert.is(silent.givenUp, 0, "nobody has waited until it was given up");
});

/** Takes connections and says nothing. */
async function startSilent({ hostname, port }: URL) {
  const sockets: Socket[] = [];
  let givenUp = 0;
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    socket.resume().on("end", () => {
      givenUp += 1;
    });
  });
  await new Promise<void>((resolve) => server.listen(Number(port), hostname, resolve));
  return {
    get asked() {
      return sockets.length;
    },
    get givenUp() {
      return givenUp;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

test.run();
