/** Asks until `check` gives a value other than undefined, null and false. What it throws, and what it saw last, is told at the end. */
export async function until<T>(
  what: string,
  check: () => Promise<T | undefined | null | false> | T | undefined | null | false,
  milliseconds = 20_000,
): Promise<T> {
  const end = Date.now() + milliseconds;
  let failure: unknown;
  for (;;) {
    try {
      const value = await check();
      if (value !== undefined && value !== null && value !== false) return value;
      failure = undefined;
    } catch (error) {
      failure = error;
    }
    if (Date.now() > end) {
      throw new Error(`not within ${milliseconds / 1000} s: ${what}`, failure === undefined ? {} : { cause: failure });
    }
    await pause(25);
  }
}

/** Lets time pass. */
export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
