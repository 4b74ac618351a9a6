/** Run by tests in a process of its own: claims the PostgreSQL named, tells the parent, and keeps it until it is killed. */
import { claimPostgres } from "../../src/storage/postgres-claim.ts";

const tell = (line: string) => process.stdout.write(`${line}\n`);

try {
  await claimPostgres(process.argv[2] ?? "", {
    onTaken: ({ code }) => {
      tell(`taken ${code}`);
      process.exit(1);
    },
  });
  tell("claimed");
  // The claim itself keeps no process alive.
  setInterval(() => {}, 60_000);
} catch (error) {
  tell(`failed ${(error as { code?: string }).code} ${(error as Error).message}`);
  process.exit(1);
}
