/** Puts load on a server from a process of its own, so that the two share nothing but the machine. */
import { fork } from "node:child_process";
import { join } from "node:path";
import type { Load, LoadResult } from "./load-generator.ts";

/** Requests a second, once everything was answered with `status`. @throws when something else was answered */
export async function measureLoad(load: Load, status: number): Promise<number> {
  const { seconds, statuses } = await generate(load);
  if (statuses[status] !== load.requests.length)
    throw new Error(`not all were answered ${status}: ${JSON.stringify(statuses)}`);
  return (load.requests.length - load.warmUp) / seconds;
}

async function generate(load: Load): Promise<LoadResult> {
  const child = fork(join(import.meta.dirname, "load-generator.js"), { serialization: "advanced" });
  return await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`the load generator ended with ${code}`)));
    child.once("message", (result) => resolve(result as LoadResult));
    child.send(load);
  });
}
