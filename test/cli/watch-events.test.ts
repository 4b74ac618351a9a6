import * as assert from "uvu/assert";
import { createOutput } from "../../src/cli/output.ts";
import { printEvents } from "../../src/cli/watch-events.ts";
import type { InstanceEvent } from "../../src/sdk/events.ts";
import { suite } from "../harness/suite.ts";

const test = suite("the lines of a watch");

/** What is printed for people of an event like that. */
async function linesOf(event: Partial<InstanceEvent>): Promise<string[]> {
  let out = "";
  const keep = (text: string) => {
    out += text;
  };
  const output = createOutput({ columns: undefined, colours: false, out: keep, err: () => {} }, false);
  await printEvents(output, {}, async function* () {
    yield { id: 7, type: "", at: "2026-11-26T08:00:00.000Z", object: null, ...event };
  });
  return out.trimEnd().split("\n");
}

test("a dead letter names its peer and why it was refused", async () => {
  const object = "https://ouest.example/activities/1";
  const data = { peer: "https://lyon.example", code: "recipients_missing" };
  assert.equal(await linesOf({ type: "delivery.dead", object, actor: "node", data }), [
    `2026-11-26T08:00:00.000Z  #7  delivery.dead  ${object}  by node, peer https://lyon.example, code recipients_missing`,
  ]);
});

test("a key that is about to end is told with its platform, its prefix and its end", async () => {
  const platform = "https://ouest.example/platforms/chu";
  const data = { platform, key: "hfk_abc", end_datetime: "2026-12-01T00:00:00.000Z" };
  const [line] = await linesOf({ type: "access_key.expiring", object: "0190a0a0", data });
  assert.match(line ?? "", `0190a0a0  platform ${platform}, key hfk_abc, end datetime 2026-12-01T00:00:00.000Z`);
});

test("an event is one line whatever it says, and what is no plain value is left to scripts", async () => {
  const data = { reason: "one\ntwo\u001b[2J", more: { deep: 1 }, empty: null };
  assert.equal(await linesOf({ type: "project.unreachable", data }), [
    "2026-11-26T08:00:00.000Z  #7  project.unreachable  reason one two\ufffd[2J",
  ]);
});

test.run();
