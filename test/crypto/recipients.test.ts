import * as assert from "uvu/assert";
import { judgeReceivedKids, judgeSubmittedKids, listUnsealed } from "../../src/crypto/recipients.ts";
import { suite } from "../harness/suite.ts";
import { type Json, loadVectors } from "../vectors/load.ts";
import { assertVerdict } from "./verdict.ts";

const test = suite("recipients of an envelope");
const { file, cases } = loadVectors("recipients");
const history = new Map(Object.entries(file.copies as Record<string, string[]>));
const newestKids = new Map([...history].map(([platform, kids]) => [platform, kids.at(-1) as string]));

for (const item of cases) {
  test(item.name, () => {
    const kids = item.kids as string[];
    const object = (file.objects as Record<string, Json>)[item.object as string] as Json;
    const verdict =
      item.role === "receiving"
        ? judgeReceivedKids({ kids, local: item.local as string[], history })
        : judgeSubmittedKids({ kids, parties: partiesOf(item, object), newestKids, history });
    assertVerdict(verdict, item);
    if (!verdict.accepted) {
      assert.equal(verdict.platforms, item.platforms);
      return;
    }
    const parties = item.role === "receiving" ? (item.local as string[]) : partiesOf(item, object);
    assert.equal(listUnsealed({ kids, parties, newestKids }), item.needs_reseal ?? []);
  });
}

function partiesOf(item: Json, object: Json): string[] {
  if (item.parties !== undefined) return item.parties as string[];
  const now = Date.parse(item.now as string);
  const live = (object["hf:grants"] as { platform: string; from: string; expires?: string }[]).filter(
    ({ from, expires }) => Date.parse(from) <= now + 300_000 && (expires === undefined || now < Date.parse(expires)),
  );
  return [object.attributedTo as string, ...live.map(({ platform }) => platform)];
}

test.run();
