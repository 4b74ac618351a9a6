/**
 * `start.first`, `start.again`: from the command to the first good answer of `/ready`, with a new data directory and with
 * the same once more. Beside it a process that loads koa and listens, which is what Node.js alone takes.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { type Benchmark, type Figure, figureOf, type Profile, quantile } from "./figure.ts";
import { startMeasured } from "./nodes.ts";

const n = 3;

const seconds = async (work: () => Promise<unknown>): Promise<number> => {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
};

/** Koa in a process of its own, until it listens. */
async function startKoa(): Promise<void> {
  const program = `import("koa").then(({ default: Koa }) => new Koa().listen(0, () => process.exit()))`;
  await once(spawn(process.execPath, ["--eval", program], { stdio: "inherit" }), "exit");
}

async function* measureStart(profile: Profile): AsyncIterable<Figure> {
  const first: number[] = [];
  const again: number[] = [];
  const koa: number[] = [];
  for (let run = 0; run < n; run += 1) {
    koa.push(await seconds(startKoa));
    const begun = performance.now();
    await using measured = await startMeasured(profile);
    first.push((measured.readyAt() - begun) / 1000);
    await measured.node.stop();
    const begunAgain = performance.now();
    await measured.node.start();
    again.push((measured.readyAt() - begunAgain) / 1000);
  }
  const beside = { what: "koa alone", value: quantile(koa, 0.5) };
  yield figureOf({ name: "start.first", profile, value: quantile(first, 0.5), unit: "s", beside, n });
  yield figureOf({ name: "start.again", profile, value: quantile(again, 0.5), unit: "s", beside, n });
}

export const startBenchmarks: readonly Benchmark[] = [{ names: ["start.first", "start.again"], run: measureStart }];
