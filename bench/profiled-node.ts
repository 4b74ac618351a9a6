/**
 * `concordat` with a CPU profile: written when it ends, into the folder that BENCH_CPU_PROFILE names, in the form that
 * Chrome's developer tools open. Node takes no --cpu-prof from the environment, and the harness starts programs.
 */
import { writeFileSync } from "node:fs";
import { Session } from "node:inspector";
import { join } from "node:path";

const session = new Session();
session.connect();
session.post("Profiler.enable");
session.post("Profiler.setSamplingInterval", { interval: 500 });
session.post("Profiler.start");
process.on("exit", () => {
  session.post("Profiler.stop", (_, { profile }) => {
    const name = `node-${process.pid}.cpuprofile`;
    writeFileSync(join(process.env.BENCH_CPU_PROFILE ?? ".", name), JSON.stringify(profile));
  });
});

await import("../src/main.ts");
