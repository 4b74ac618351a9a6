/** How the demo tells of its steps: a line each for people, a JSON object each for scripts. */
import { ConcordatError } from "../../errors.ts";
import { printable, type Terminal } from "../output.ts";

/** What a step found: members of its JSON object, and a sentence for people. */
export interface Finding {
  readonly said: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** A finished step, as the table at the end shows it. */
export interface FinishedStep {
  readonly step: string;
  readonly ms: number;
  readonly said: string;
}

export interface Progress {
  readonly finished: readonly FinishedStep[];
  /** Runs one step and tells how it went; its failure is told and thrown on. */
  step(name: string, run: () => Promise<Finding>): Promise<void>;
}

const redrawMilliseconds = 100;

export function createProgress(terminal: Terminal, json: boolean): Progress {
  const finished: FinishedStep[] = [];
  // A line that is drawn again and again needs a terminal.
  const live = !json && terminal.columns !== undefined;
  const colour = (code: number, text: string) => (terminal.colours ? `\u001b[${code}m${text}\u001b[0m` : text);
  const line = (mark: string, name: string, ms: number, said = "") =>
    `${mark} ${name.padEnd(26)}${String(ms).padStart(6)} ms  ${printable(said)}`.trimEnd();
  const clearLine = live ? "\r\u001b[2K" : "";

  return {
    finished,
    async step(name, run) {
      const started = performance.now();
      const elapsed = () => Math.round(performance.now() - started);
      const draw = () => terminal.out(`${clearLine}${line("…", name, elapsed())}`);
      if (live) draw();
      const timer = live ? setInterval(draw, redrawMilliseconds) : undefined;
      try {
        const { said, details } = await run();
        const ms = elapsed();
        finished.push({ step: name, ms, said });
        if (json) terminal.out(`${JSON.stringify({ step: name, ok: true, ms, ...details })}\n`);
        else terminal.out(`${clearLine}${line(colour(32, "✓"), name, ms, said)}\n`);
      } catch (error) {
        const code = error instanceof ConcordatError ? error.code : "internal";
        const message = error instanceof Error ? error.message : String(error);
        const ms = elapsed();
        if (json) terminal.out(`${JSON.stringify({ step: name, ok: false, ms, code, error: message })}\n`);
        else terminal.out(`${clearLine}${line(colour(31, "✗"), name, ms, `${code}: ${message}`)}\n`);
        throw error;
      } finally {
        clearInterval(timer);
      }
    },
  };
}
