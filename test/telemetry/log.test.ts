import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { inspect } from "node:util";
import * as assert from "uvu/assert";
import { openDatabase } from "../../src/storage/database.ts";
import { roles } from "../../src/storage/schema.ts";
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

const names = [
  ...["authorization", "cookie", "password", "adminPassword", "passphrase", "secret", "access_token", "token"],
  ...["key", "nodeKeys", "privateKey", "privateJwk", "databaseUrl", "hf:sealed", "ciphertext"],
];

for (const name of names) {
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

test("tells of an error its type, code, message and stack, and of its causes the same", () => {
  const { log, lines } = collect();
  const cause = Object.assign(new TypeError("the socket closed"), { code: "ECONNRESET" });
  log.error({ err: new Error("the peer does not answer", { cause }) });
  const err = lines()[0]?.err as (Line & { readonly cause: Line }) | undefined;
  assert.equal([err?.type, err?.message], ["Error", "the peer does not answer"]);
  assert.match(String(err?.stack), /log\.test/);
  assert.equal(
    [err?.cause.type, err?.cause.code, err?.cause.message],
    ["TypeError", "ECONNRESET", "the socket closed"],
  );
});

test("ends with an error that is its own cause, and takes what is no error", () => {
  const { log, lines } = collect();
  const error = new Error("round");
  error.cause = error;
  log.error({ err: error });
  log.error({ err: { secret } });
  log.error({ err: "thrown as text" });
  assert.is(lines().length, 3);
  assert.equal(
    lines()
      .slice(1)
      .map((line) => line.err),
    ["[no error]", "thrown as text"],
  );
});

test("hides the values of a query that failed, which drizzle and PostgreSQL put into their errors", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "concordat-log-"));
  const { log, text } = collect();
  try {
    await using database = await openDatabase({ dataDir });
    const row = { id: "00000000-0000-7000-8000-000000000001", name: secret, permissions: [] };
    await database.db.insert(roles).values(row);
    const failure: unknown = await database.db
      .insert(roles)
      .values(row)
      .catch((error: unknown) => error);
    assert.ok(inspect(failure).includes(secret), "the error itself tells them");
    log.error({ err: failure }, "a request failed");
  } finally {
    await rm(dataDir, { recursive: true });
  }
  assert.match(text(), /insert into \\"roles\\"/);
  assert.match(text(), /23505/);
  assert.not.ok(text().includes(secret), text());
});

test("leaves what was logged as it was", () => {
  const { log } = collect();
  const request = { headers: { authorization: secret } };
  log.info({ request });
  assert.is(request.headers.authorization, secret);
});

test.run();
