/** A server of this folder in a process of its own. */
import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";

export interface ChildServer<Ready> extends AsyncDisposable {
  /** What it said once it listened. */
  readonly ready: Ready;
  readonly child: ChildProcess;
}

/** Starts `name` and tells it `told`. */
export async function startChild<Ready>(name: string, told: unknown): Promise<ChildServer<Ready>> {
  const child = fork(join(import.meta.dirname, `${name}.js`), { serialization: "advanced" });
  const ready = await new Promise<Ready>((resolve, reject) => {
    child.once("exit", (code) => reject(new Error(`${name} ended with ${code}`)));
    child.once("message", (message) => resolve(message as Ready));
    child.send(told as object);
  });
  return {
    ready,
    child,
    async [Symbol.asyncDispose]() {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill();
      await ended;
    },
  };
}
