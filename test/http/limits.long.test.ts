import * as assert from "uvu/assert";
import { startNode } from "../harness/node.ts";
import { suite } from "../harness/suite.ts";
import { sendRaw } from "../harness/wire.ts";

/** A body that does not come to its end (docs/protocol.md, "Answers"). */
const test = suite("limits of HTTP that take their time");

test("a body that stays away, at an inbox and at the API: 408 timeout", async () => {
  await using node = await startNode();
  const { host } = new URL(node.origin);
  const askSlowly = (path: string) => {
    const head = `POST ${path} HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"a`;
    return sendRaw(node.origin, head, 60_000);
  };
  for (const answer of await Promise.all(["/inbox", "/api/v1/auth/login"].map(askSlowly))) {
    assert.match(answer, /^HTTP\/1\.1 408 /);
    assert.match(answer, /application\/problem\+json/);
    assert.match(answer, /"code":"timeout"/);
  }
});

test.run();
