/** Node fires timers beyond this (2^31 − 1 ms) at once. */
export const longestDelay = 2_147_483_647;

/** Waits for `work`, but no longer than `milliseconds`; whether it failed is for others to see. */
export async function within(milliseconds: number, work: Promise<unknown>): Promise<void> {
  let late: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => {
    late = setTimeout(resolve, milliseconds);
  });
  await Promise.race([work.catch(() => {}), over]);
  clearTimeout(late);
}
