import { writeSync } from "node:fs";

/** Environment name under which the runner tells a test file the descriptor that takes its report. */
export const reportDescriptorName = "CONCORDAT_TEST_REPORT_FD";

/** One line, as JSON, from a test file to the runner. `suite` numbers the suites of the file from 0. */
export type ReportLine =
  | { readonly kind: "suite"; readonly suite: number; readonly name: string }
  | { readonly kind: "declared"; readonly suite: number; readonly name: string }
  | { readonly kind: "passed" | "failed"; readonly suite: number; readonly name: string }
  | { readonly kind: "skipped"; readonly suite: number; readonly name: string; readonly reason: string }
  | { readonly kind: "hook-failed"; readonly suite: number; readonly name: string }
  | { readonly kind: "started"; readonly suite: number }
  | { readonly kind: "ended"; readonly suite: number };

const descriptor = process.env[reportDescriptorName];
// Processes that a test starts have no such descriptor; one of theirs under the same number would get our lines.
delete process.env[reportDescriptorName];

/** Writes one line to the runner, at once, so that it survives any end of this process; by hand it does nothing. */
export function report(line: ReportLine): void {
  if (descriptor !== undefined) writeSync(Number(descriptor), `${JSON.stringify(line)}\n`);
}

if (descriptor !== undefined && process.channel) {
  // The runner was killed: nobody would stop this file, nor what it started in its process group, any more.
  process.once("disconnect", () => process.kill(-process.pid, "SIGKILL"));
  process.channel.unref();
}
