/** A random walk over three nodes (docs/protocol.md as a whole): whatever happens, the same state everywhere in the end. */
import { createRandom } from "../harness/random.ts";
import { assertSameEverywhere, assertWithinGrants } from "./check.ts";
import type { Model } from "./model.ts";
import { assertRows } from "./rows.ts";
import { putInOrder, startAll, takeStep } from "./steps.ts";
import { buildWorld, type WorldOptions } from "./world.ts";
import type { Walk } from "./writes.ts";

export interface WalkOptions extends WorldOptions {
  readonly steps: number;
  readonly seed: number;
  /** How long deliveries may take at the end, milliseconds. */
  readonly patience?: number;
  /** After how many steps everything is put in order and looked at; only at the end when absent. */
  readonly lookEvery?: number;
}

/**
 * Takes so many steps and looks. The steps are drawn from the seed; what the nodes are doing meanwhile is not.
 * @throws with the seed and the last steps, so that it can be walked again
 */
export async function runWalk({
  steps,
  seed,
  program,
  servers,
  patience = 120_000,
  lookEvery = steps,
}: WalkOptions): Promise<void> {
  await using world = await buildWorld({ program, servers });
  const model: Model = { projects: [] };
  const walkAt = (step: number): Walk => ({ world, model, random: createRandom(seed * 1_000_003 + step) });
  const done: string[] = [];
  try {
    for (let step = 1; step <= steps; step += 1) {
      // Drawn from seed and step alone: what the nodes make of one step does not change the draws of the next.
      const walk = walkAt(step);
      done.push(`${step}: ${await takeStep(walk)}`);
      await Promise.all(world.walkers.filter(({ node }) => node.up).map((walker) => assertWithinGrants(walk, walker)));
      if (step % lookEvery !== 0 && step !== steps) continue;
      await putInOrder(walk);
      await assertSameEverywhere(walk, patience);
      await assertRows(walk);
      if (step !== steps) await startAll(walk);
    }
  } catch (error) {
    const { expects, actual } = error as { readonly expects?: unknown; readonly actual?: unknown };
    const found = expects === undefined ? "" : ` (${JSON.stringify(actual)}, not ${JSON.stringify(expects)})`;
    const logs = world.nodes.map(({ node }) => `${node.origin}\n${node.log().split("\n").slice(-8).join("\n")}`);
    throw new Error(
      `CONCORDAT_WALK_SEED=${seed}: ${error instanceof Error ? error.message : String(error)}${found}, after\n${done.slice(-25).join("\n")}\n${logs.join("\n")}`,
      {
        cause: error,
      },
    );
  }
}
