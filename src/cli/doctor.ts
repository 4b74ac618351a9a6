/** `doctor`: what is wrong with the node of this machine, and what to do. */
import { readConfig } from "../config.ts";
import { examineNode } from "../doctor/examine.ts";
import type { Facts } from "../doctor/facts.ts";
import { openAdmin } from "./admin-session.ts";
import type { CliContext } from "./context.ts";
import { CliError } from "./prompt.ts";

/** @throws {CliError} `checks_failed` when something is wrong */
export async function runDoctor(context: CliContext): Promise<void> {
  const findings = await examineNode({
    readSettings: () => readConfig(),
    fetch: context.fetch,
    clock: context.clock,
    async askNode(origin) {
      const client = await openAdmin(context, origin);
      const [peers, platforms] = await Promise.all([client.list("/peers"), client.list("/platforms")]);
      return { peers, platforms } as unknown as Facts;
    },
  });
  context.output.table(
    findings,
    [
      { title: "state", value: ({ state }) => state, whole: true },
      { title: "check", value: ({ check, about }) => (about === undefined ? check : `${check} ${about}`), whole: true },
      { title: "finding", value: ({ message }) => message, whole: true },
    ],
    "",
  );
  const wrong = findings.filter(({ state }) => state === "wrong").length;
  if (wrong > 0) throw new CliError("checks_failed", `${wrong} of ${findings.length} findings are wrong.`, { wrong });
}
