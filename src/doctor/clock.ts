/** Clocks: signatures count within a window, so that nodes must agree on the time. */
import { type Finding, findingsOf } from "./findings.ts";

/** Beyond this share of the window a clock is worth a look before it does harm. */
const worthALook = 0.25;

/** @param there what another clock said at the moment at which ours said `here` */
export function compareClocks({
  whose,
  there,
  here,
  skewSeconds,
}: {
  whose: string;
  there: Date;
  here: Date;
  skewSeconds: number;
}): Finding {
  const { ok, warning, wrong } = findingsOf("clock", whose);
  const seconds = Math.round((there.getTime() - here.getTime()) / 1000);
  const differs = `Its clock is ${Math.abs(seconds)} s ${seconds < 0 ? "behind" : "ahead of"} this machine's`;
  const advice = "set both by NTP";
  if (Math.abs(seconds) > skewSeconds) {
    return wrong(`${differs}, and signatures count for ${skewSeconds} s: ${advice}.`);
  }
  if (Math.abs(seconds) > skewSeconds * worthALook) {
    return warning(`${differs}; at ${skewSeconds} s signatures are refused: ${advice}.`);
  }
  return ok(`Its clock agrees with this machine's to ${Math.abs(seconds)} s.`);
}
