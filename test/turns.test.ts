import * as assert from "uvu/assert";
import { Problem } from "../src/errors.ts";
import { createTurns } from "../src/turns.ts";
import { suite } from "./harness/suite.ts";

const test = suite("turns");

/** Work that ends when it is told to, and which of it has begun. */
function held() {
  const begun: string[] = [];
  const ends = new Map<string, () => void>();
  const work = (name: string) => () => {
    begun.push(name);
    return new Promise<string>((resolve) => ends.set(name, () => resolve(name)));
  };
  return { begun, work, end: (name: string) => ends.get(name)?.() };
}
const turn = () => new Promise((resolve) => setImmediate(resolve));

test("runs what concerns one key in order, also behind what fails, and other keys beside it", async () => {
  const { begun, work, end } = held();
  const inTurn = createTurns();
  const fails = inTurn("a", () => Promise.reject(new Error("no"))).catch((error: Error) => error.message);
  const calls = [inTurn("a", work("first")), inTurn("a", work("second")), inTurn("b", work("beside"))];
  assert.is(await fails, "no");
  await turn();
  assert.equal(begun.sort(), ["beside", "first"]);
  end("first");
  await turn();
  end("second");
  end("beside");
  assert.equal(await Promise.all(calls), ["first", "second", "beside"]);
});

test("refuses what is one too many of its key, until there is room again", async () => {
  const { work, end } = held();
  const inTurn = createTurns();
  const first = inTurn("a", work("first"), { most: 2 });
  const second = inTurn("a", work("second"), { most: 2 });
  try {
    await inTurn("a", work("third"), { most: 2 });
    assert.unreachable();
  } catch (error) {
    assert.is((error as Problem).code, "unavailable");
    assert.type((error as Problem).members.retry_after, "number");
  }
  end("first");
  await first;
  await turn();
  const fourth = inTurn("a", work("fourth"), { most: 2 });
  end("second");
  await second;
  await turn();
  end("fourth");
  assert.is(await fourth, "fourth");
});

test("begins nothing that nobody waits for any more, and keeps the turn of what has begun", async () => {
  const { begun, work, end } = held();
  const inTurn = createTurns();
  const over = new AbortController();
  const running = inTurn("a", work("running"), { over: over.signal });
  const waiting = inTurn("a", work("waiting"), { over: over.signal }).catch((error: unknown) => error);
  const last = inTurn("a", work("last"));
  await turn();
  over.abort(new Problem("unavailable"));
  await turn();
  assert.equal(begun, ["running"]);
  end("running");
  assert.is(await running, "running");
  assert.is(((await waiting) as Problem).code, "unavailable");
  await turn();
  assert.equal(begun, ["running", "last"]);
  end("last");
  await last;
});

test.run();
