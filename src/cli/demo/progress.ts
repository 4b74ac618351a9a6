/** How the demo tells of its steps: a line each for people, a JSON object each for scripts. */
import { ConcordatError } from "../../errors.ts";
import { printable, type Terminal, wrap } from "../output.ts";

/** What a step found: members of its JSON object, and a sentence for people. */
export interface Finding {
  readonly said: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

export interface Progress {
  /** Runs one step and tells how it went; its failure is told and thrown on. */
  step(name: string, run: () => Promise<Finding>): Promise<void>;
}

/** A step on a line, or on several where the terminal is narrow: fingerprints and addresses are never cut. */
export function formatStep(mark: string, step: string, ms: number, said: string, terminal: Terminal): string {
  const head = `${step.padEnd(20)}${String(ms).padStart(7)} ms  `;
  const indent = 2 + head.length;
  const room = terminal.columns === undefined ? Number.POSITIVE_INFINITY : terminal.columns - indent;
  return `${mark} ${head}${wrap(printable(said), room, indent)}`.trimEnd();
}

const redrawMilliseconds = 100;

export function createProgress(terminal: Terminal, json: boolean): Progress {
  // A line that is drawn again and again needs a terminal.
  const live = !json && terminal.columns !== undefined;
  const colour = (code: number, text: string) => (terminal.colours ? `\u001b[${code}m${text}\u001b[0m` : text);
  const line = (mark: string, name: string, ms: number, said = "") => formatStep(mark, name, ms, said, terminal);
  const clearLine = live ? "\r\u001b[2K" : "";

  return {
    async step(name, run) {
      const started = performance.now();
      const elapsed = () => Math.round(performance.now() - started);
      const draw = () => terminal.out(`${clearLine}${line("…", name, elapsed())}`);
      if (live) draw();
      const timer = live ? setInterval(draw, redrawMilliseconds) : undefined;
      try {
        const { said, details } = await run();
        const ms = elapsed();
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
