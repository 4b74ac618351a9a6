/**
 * Run by tests in a process of its own: opens the PGlite directory named, tells the parent, and commits rows one after
 * the other until it is killed, telling of each after its commit.
 */
import { randomUUID } from "node:crypto";
import { openDatabase } from "../../src/storage/database.ts";
import { roles } from "../../src/storage/schema.ts";

const tell = (line: string) => process.stdout.write(`${line}\n`);

try {
  const database = await openDatabase({ dataDir: process.argv[2] });
  tell("open");
  for (;;) {
    const id = randomUUID();
    await database.transaction(async (tx) => {
      await tx.insert(roles).values({ id, name: `a ${id}`, permissions: [] });
      await tx.insert(roles).values({ id: randomUUID(), name: `b ${id}`, permissions: [] });
    });
    tell(id);
  }
} catch (error) {
  tell(`failed ${(error as { code?: string }).code} ${(error as Error).message}`);
  process.exit(1);
}
