import * as assert from "uvu/assert";
import type { Signals } from "../../src/storage/signals.ts";
import type { Suite } from "../harness/suite.ts";
import { pause, until } from "../harness/until.ts";

/** What every adapter of the signals port must do. */
export function describeSignals(test: Suite, open: () => Promise<Signals>): void {
  test("tells all who listen for a name, and nobody else", async () => {
    await using signals = await open();
    const heard: string[] = [];
    signals.listen("a", () => heard.push("one"));
    signals.listen("a", () => heard.push("two"));
    signals.listen("b", () => heard.push("other"));
    await until("subscriptions", async () => {
      signals.send("a");
      await pause(50);
      return heard.includes("one") && heard.includes("two");
    });
    heard.length = 0;
    signals.send("a");
    await until("both", async () => heard.includes("one") && heard.includes("two"));
    assert.not(heard.includes("other"));
  });

  test("tells nobody who has ended listening", async () => {
    await using signals = await open();
    let heard = 0;
    const end = signals.listen("a", () => {
      heard += 1;
    });
    await until("a subscription", async () => {
      signals.send("a");
      await pause(50);
      return heard > 0;
    });
    end();
    end();
    await pause(100);
    const before = heard;
    signals.send("a");
    await pause(200);
    assert.is(heard, before);
  });
}
