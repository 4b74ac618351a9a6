import { Writable } from "node:stream";
import * as assert from "uvu/assert";
import { createLog, type LogLevel } from "../../src/telemetry/log.ts";
import { suite } from "../harness/suite.ts";

const test = suite("log");

type Line = Record<string, unknown>;

function collect(level: LogLevel = "info") {
  const written: string[] = [];
  const stream = new Writable({
    write(octets, _encoding, done) {
      written.push(String(octets));
      done();
    },
  });
  const log = createLog({ level, stream });
  const text = () => written.join("");
  const lines = () =>
    text()
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Line);
  return { log, text, lines };
}

test("writes one JSON object per line, with level, time and message", () => {
  const { log, text, lines } = collect();
  log.info({ origin: "https://lyon.example" }, "the node\nis up");
  log.warn("second");
  assert.ok(text().endsWith("\n"));
  const [first, second, ...rest] = lines();
  assert.equal(rest, []);
  assert.equal(Object.keys(first ?? {}).sort(), ["level", "msg", "origin", "time"]);
  assert.is(first?.origin, "https://lyon.example");
  assert.is(first?.msg, "the node\nis up");
  assert.match(String(first?.time), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.is(second?.msg, "second");
});

test("writes only what reaches its level", () => {
  const { log, lines } = collect("warn");
  log.info("not this");
  log.error("this");
  assert.equal(
    lines().map((line) => line.msg),
    ["this"],
  );
  const silent = collect("silent");
  silent.log.fatal("nothing");
  assert.is(silent.text(), "");
});

const secret = "k7Qm-never-in-a-log";

for (const name of ["authorization", "password", "key", "access_token", "secret", "passphrase"]) {
  test(`hides ${name} at the top and two levels down`, () => {
    const { log, text, lines } = collect();
    log.info({
      [name]: secret,
      body: { [name]: secret },
      request: { headers: { [name]: secret } },
      list: [{ [name]: secret }],
    });
    assert.not.ok(text().includes(secret), text());
    const [line] = lines();
    assert.equal(
      [line?.[name], line?.body, line?.request],
      ["[secret]", { [name]: "[secret]" }, { headers: { [name]: "[secret]" } }],
    );
  });
}

test("hides secrets in an error's members and in children's bindings", () => {
  const { log, text } = collect();
  log.error({ err: Object.assign(new Error("refused"), { password: secret }) }, "a request failed");
  log.child({ session: { access_token: secret } }).info("of a child");
  assert.match(text(), /refused/);
  assert.match(text(), /of a child/);
  assert.not.ok(text().includes(secret), text());
});

test("leaves what was logged as it was", () => {
  const { log } = collect();
  const request = { headers: { authorization: secret } };
  log.info({ request });
  assert.is(request.headers.authorization, secret);
});

test.run();
