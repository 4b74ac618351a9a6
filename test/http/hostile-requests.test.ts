import { request } from "node:http";
import { connect } from "node:net";
import * as assert from "uvu/assert";
import { startNode, type TestNode } from "../harness/node.ts";
import { createRest, logIn } from "../harness/rest.ts";
import { suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";
import { sendRequest } from "../harness/wire.ts";

/** Requests of nobody's that must cost nothing: NUL, bodies without end, many guesses at once. */
const test = suite("hostile requests");

let node: TestNode;
test.before(async () => {
  node = await startNode();
});
test.after(async () => {
  await node[Symbol.asyncDispose]();
});

for (const path of [
  "/platforms/a%00b",
  "/platforms/a%00b/outbox",
  "/.well-known/webfinger?resource=acct:a%00b@127.0.0.1",
  "/api/v1/platforms?q=%00",
  "/api/v1/platforms/%00",
  "/nothing%00",
]) {
  test(`NUL in ${path} is a fault of the caller`, async () => {
    const authorization = ["Authorization", `Bearer ${node.admin.token}`] as const;
    const { status, body } = await sendRequest(node.origin, { method: "GET", path, headers: [authorization] });
    assert.ok(status === 400 || status === 404, `${status} ${JSON.stringify(body)}`);
    assert.is(body.status, status);
  });
}

for (const form of ["username=a%00b&password=x", "username=admin&password=a%00b"]) {
  test(`NUL in a form is a fault of the caller: ${form}`, async () => {
    const headers = [["Content-Type", "application/x-www-form-urlencoded"]] as const;
    const sent = { method: "POST", path: "/api/v1/auth/login", headers, body: Buffer.from(form) };
    const { status, body } = await sendRequest(node.origin, sent);
    assert.is(status, 400, JSON.stringify(body));
  });
}

test("a body without end does not keep its connection", async () => {
  const { hostname, port } = new URL(node.origin);
  const socket = connect(Number(port), hostname);
  let answer = "";
  socket.on("data", (octets) => {
    answer += octets;
  });
  // The other side may close while a chunk is under way.
  socket.on("error", () => {});
  const closed = new Promise<boolean>((resolve) => socket.once("close", () => resolve(true)));
  socket.write("GET /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
  const chunks = setInterval(() => socket.write("1\r\nx\r\n"), 20);
  try {
    const late = new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 8_000).unref());
    assert.is(await Promise.race([closed, late]), true, answer);
    assert.match(answer, /^HTTP\/1\.1 200 /);
    assert.match(answer, /\r\nConnection: close\r\n/i);
  } finally {
    clearInterval(chunks);
    socket.destroy();
  }
});

test("bodies that are never finished fill no memory: 503, and when they are gone everybody is served again", async () => {
  const { hostname, port } = new URL(node.origin);
  const head =
    "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000100\r\n\r\n";
  const answers: string[] = [];
  const sockets = Array.from({ length: 75 }, () => {
    const socket = connect(Number(port), hostname);
    socket.on("error", () => {});
    socket.on("data", (octets) => answers.push(String(octets)));
    socket.write(head);
    socket.write(Buffer.alloc(1_000_000, " "));
    return socket;
  });
  try {
    await until("the node takes no more", () => answers.some((answer) => /^HTTP\/1\.1 503 /.test(answer)));
    assert.ok(answers.every((answer) => /^HTTP\/1\.1 503 /.test(answer) && /retry-after: 5/i.test(answer)));
    assert.is((await fetch(`${node.origin}/health`)).status, 200);
  } finally {
    for (const socket of sockets) socket.destroy();
  }
  await until(
    "it serves again",
    async () => (await logIn(node.origin, "admin", "not-a-secret-in-a-test")).token !== undefined,
  );
});

test("an answer to a request that was read to its end keeps the connection", async () => {
  const connection = await new Promise((resolve, reject) => {
    const outgoing = request(`${node.origin}/health`, { headers: { connection: "keep-alive" } }, (response) => {
      response.resume();
      resolve(response.headers.connection);
    });
    outgoing.on("error", reject);
    outgoing.end();
  });
  assert.is(connection, "keep-alive");
});

// The last one: from this address nobody logs in after it.
test("of forty wrong logins at once ten are judged, the others are turned away", async () => {
  const rest = createRest(node.origin);
  const guess = (_: unknown, at: number) =>
    rest.call("POST", "/auth/login", { username: at % 2 ? "admin" : `nobody-${at}`, password: `wrong-password-${at}` });
  const answers = await Promise.all(Array.from({ length: 40 }, guess));
  const judged = answers.filter(({ status }) => status === 401).length;
  // 429 by what was judged before, 503 where twenty wait already.
  const turnedAway = answers.filter(({ status }) => status === 429 || status === 503).length;
  assert.ok(judged > 0 && judged <= 10, `${judged} were judged`);
  assert.is(judged + turnedAway, 40);
});

test.run();
