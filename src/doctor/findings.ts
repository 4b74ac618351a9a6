/** What the doctor says: one finding for each thing that was looked at. */

export interface Finding {
  /** What was looked at. */
  readonly check: string;
  /** Which of several: a peer's origin, a platform's URI. */
  readonly about?: string;
  /** Skipped is what could not be looked at from here; nothing speaks against it. */
  readonly state: "ok" | "warning" | "wrong" | "skipped";
  /** What is, and where it is not ok, what to do. */
  readonly message: string;
}

/** Makes findings of one check. */
export function findingsOf(check: string, about?: string) {
  const make =
    (state: Finding["state"]) =>
    (message: string): Finding => ({
      check,
      ...(about === undefined ? {} : { about }),
      state,
      message,
    });
  return { ok: make("ok"), warning: make("warning"), wrong: make("wrong"), skipped: make("skipped") };
}

export const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
