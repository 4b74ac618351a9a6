/** Commands of whoever runs a node, on its machine. What they need is loaded when they run. */
import type { Command } from "commander";
import { addCommand, addGroup, type CliContext } from "./context.ts";

export function addNodeCommands(program: Command, context: CliContext): void {
  addCommand(program, "serve", "run a node; applies migrations first").action(async () => {
    const { serve } = await import("./serve.ts");
    await serve();
  });
  addCommand(program, "demo", "three nodes on loopback, real example data, the whole scenario step by step")
    .option("--once", "end after the last step instead of leaving the nodes running")
    .action(async (options: { once?: true }) => {
      const { runDemo } = await import("./demo.ts");
      await runDemo({ ...options, json: context.output.json });
    });
  addCommand(program, "migrate", "bring the database to the schema of this program").action(async () => {
    const { migrate } = await import("./serve.ts");
    const database = await migrate();
    context.output.done({ database }, `The schema of the ${database} database is up to date.`);
  });
  addCommand(
    program,
    "doctor",
    "look at settings, stores, clock and peers of this machine's node, and say what to do",
  ).action(async () => {
    const { runDoctor } = await import("./doctor.ts");
    await runDoctor(context);
  });
  addNodeKeyCommands(addGroup(program, "node-keys", "the node's own keys"), context);
}

function addNodeKeyCommands(group: Command, { output }: CliContext): void {
  addCommand(group, "show", "fingerprint and key ids").action(async () => {
    const { describeNode } = await import("./serve.ts");
    const { secret: _, ...shown } = await describeNode();
    output.record(shown, Object.entries(shown));
  });
  addCommand(group, "create", "keys for a new node of several processes, as one JSON secret; kept nowhere else").action(
    async () => {
      const { createNodeKeys } = await import("./serve.ts");
      const { secret } = await createNodeKeys();
      output.done(JSON.parse(secret), secret);
    },
  );
  addCommand(group, "export", "the keys as one JSON secret, for CONCORDAT_NODE_KEYS").action(async () => {
    const { describeNode } = await import("./serve.ts");
    const { secret } = await describeNode();
    output.done(JSON.parse(secret), secret);
  });
  addCommand(group, "rotate", "new keys, for which the old ones vouch; they count from the next start").action(
    async () => {
      const { rotateNode } = await import("./serve.ts");
      const { secret, fromFile, ...shown } = await rotateNode();
      if (fromFile) output.done(shown, `New keys, fingerprint ${shown.fingerprint}. Restart the node to use them.`);
      else output.done(JSON.parse(secret), secret);
    },
  );
}
