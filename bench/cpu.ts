/** Processor time of a process, user and system, all threads: what a machine that others use too does not change much. */
import { readFileSync } from "node:fs";

const ticksPerSecond = 100;

/** Seconds since it began; not a number where there is no /proc. */
export function cpuSecondsOf(pid: number): number {
  try {
    // The name of the program, in parentheses, may hold blanks.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /s, "")
      .split(" ");
    return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
  } catch {
    return Number.NaN;
  }
}

/** Resident memory, megabytes. */
export function residentMegabytesOf(pid: number): number {
  try {
    return Number(/^VmRSS:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;
  } catch {
    return Number.NaN;
  }
}
