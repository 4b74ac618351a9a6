import { createServer, type ServerResponse } from "node:http";
import * as assert from "uvu/assert";
import { listen } from "../../src/http/listen.ts";
import { suite } from "../harness/suite.ts";
import { until } from "../harness/until.ts";

const test = suite("listening");

test("ends with the last request that is under way, whoever would keep its connection", async () => {
  let response: ServerResponse | undefined;
  const server = createServer({ keepAliveTimeout: 600_000 }, (_, outgoing) => {
    response = outgoing;
  });
  const place = { host: "127.0.0.1", port: 0, setting: "CONCORDAT_LISTEN", grace: 600_000 };
  const listener = await listen(server, place);
  const asked = fetch(`http://127.0.0.1:${listener.address.port}/`);
  await until("the request arrives", () => response);
  let ended = false;
  const ending = listener[Symbol.asyncDispose]().then(() => {
    ended = true;
  });
  response?.end("answered");
  assert.is(await (await asked).text(), "answered");
  try {
    await until("it has ended", () => ended);
  } finally {
    server.closeAllConnections();
    await ending;
  }
});

test.run();
