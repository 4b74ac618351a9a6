import * as assert from "uvu/assert";
import { startNode, type TestNode } from "../harness/node.ts";
import { suite } from "../harness/suite.ts";
import { sendRaw } from "../harness/wire.ts";

/** What never becomes a request, and what takes too long (docs/protocol.md, "Answers"). */
const test = suite("limits of HTTP");

let node: TestNode;

test.before(async () => {
  node = await startNode();
});
test.after(async () => {
  await node[Symbol.asyncDispose]();
});

const host = () => new URL(node.origin).host;
const jsonTo = (path: string) => `POST ${path} HTTP/1.1\r\nHost: ${host()}\r\nContent-Type: application/json\r\n`;

for (const [name, path] of [
  ["an inbox", "/inbox"],
  ["the API", "/api/v1/auth/login"],
] as const) {
  test(`headers beyond 16 KiB at ${name}: 431 and a closed connection`, async () => {
    const filled = (octets: number) =>
      `POST ${path} HTTP/1.1\r\nHost: ${host()}\r\nX-Filling: ${"x".repeat(octets)}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`;
    assert.match(await sendRaw(node.origin, filled(16 * 1024), 20_000), /^HTTP\/1\.1 431 /);
    assert.not.match(await sendRaw(node.origin, filled(15 * 1024), 20_000), /^HTTP\/1\.1 431 /);
  });
}

for (const [name, lines] of [
  ["two Hosts", () => `Host: ${host()}\r\nHost: ${host()}\r\nContent-Length: 0\r\n\r\n`],
  ["no Host", () => "Content-Length: 0\r\n\r\n"],
  ...(
    [
      ["length and chunks at once", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
      ["two lengths", "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"],
      ["a length that is no number", "Content-Length: three\r\n\r\nabc"],
      ["a space before a colon", "Content-Length : 3\r\n\r\nabc"],
      ["an unknown transfer coding after chunks", "Transfer-Encoding: chunked, zip\r\n\r\n0\r\n\r\n"],
    ] as const
  ).map(([fault, rest]) => [fault, () => `Host: ${host()}\r\n${rest}`] as const),
] as const) {
  test(`${name}: a bare 400 and a closed connection`, async () => {
    const before = await node.admin.list("/audit");
    const answer = await sendRaw(node.origin, `POST /inbox HTTP/1.1\r\n${lines()}`, 20_000);
    assertBare400(answer);
    assert.is(answer.match(/HTTP\/1\.1/g)?.length, 1, "what follows is no second request");
    assert.equal(await node.admin.list("/audit"), before);
  });
}

test("what is no HTTP: a bare 400 and a closed connection", async () => {
  assertBare400(await sendRaw(node.origin, "HELLO\r\n\r\n", 20_000));
});

function assertBare400(answer: string): void {
  assert.match(answer, /^HTTP\/1\.1 400 Bad Request\r\n/);
  assert.not.match(answer, /problem\+json/);
}

test("a broken chunk refuses the request and does not disturb others", async () => {
  const answer = await sendRaw(
    node.origin,
    `${jsonTo("/inbox")}Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n`,
    20_000,
  );
  assert.match(answer, /^HTTP\/1\.1 400 /);
  assert.is((await fetch(`${node.origin}/health`)).status, 200);
});

test("half a body neither hangs the node nor keeps it from answering others", async () => {
  const half = sendRaw(node.origin, `${jsonTo("/inbox")}Content-Length: 100\r\n\r\n{"a`, 1_500);
  assert.is((await fetch(`${node.origin}/ready`)).status, 200);
  assert.is(await half, "");
});

test("a body that says to be too large is refused before it is sent", async () => {
  const answer = await sendRaw(node.origin, `${jsonTo("/inbox")}Content-Length: 99999999\r\n\r\n`);
  assert.match(answer, /^HTTP\/1\.1 413 /);
  assert.match(answer, /too_large/);
});

test("order: the size of the headers before the method", async () => {
  const filling = `PUT /inbox HTTP/1.1\r\nHost: ${host()}\r\nX-Filling: ${"x".repeat(16 * 1024)}\r\n\r\n`;
  assert.match(await sendRaw(node.origin, filling, 20_000), /^HTTP\/1\.1 431 /);
});

test("a connection that sends half of its headers is closed, and keeps nobody else waiting", async () => {
  const half = sendRaw(node.origin, `POST /inbox HTTP/1.1\r\nHost: ${host()}\r\nX-Half: `, 20_000);
  let closed = false;
  const watched = half.then((text) => {
    closed = true;
    return text;
  });
  assert.is((await fetch(`${node.origin}/ready`)).status, 200);
  assert.is(closed, false);
  assert.match(await watched, /^HTTP\/1\.1 408 /);
});

test.run();
