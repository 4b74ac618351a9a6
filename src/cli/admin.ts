/** The administrator's commands, over HTTP. */
import type { Command } from "commander";
import { addAuditCommands } from "./admin-audit.ts";
import { addDeliveryCommands } from "./admin-deliveries.ts";
import { addKeyCommands } from "./admin-keys.ts";
import { addPeerCommands } from "./admin-peers.ts";
import { addPlatformCommands } from "./admin-platforms.ts";
import { addRegistryCommands } from "./admin-registry.ts";
import { logInAdministrator } from "./admin-session.ts";
import { addAdminWatch } from "./admin-watch.ts";
import { parseOrigin } from "./arguments.ts";
import { addCommand, addGroup, type CliContext } from "./context.ts";
import { readSecret } from "./prompt.ts";

export function addAdminCommands(program: Command, context: CliContext): void {
  const admin = addGroup(program, "admin", "administer an instance over HTTP");
  addLogin(admin, context);
  addPasswordReset(admin, context);
  addPlatformCommands(admin, context);
  addKeyCommands(admin, context);
  addRegistryCommands(admin, context);
  addPeerCommands(admin, context);
  addDeliveryCommands(admin, context);
  addAuditCommands(admin, context);
  addAdminWatch(admin, context);
}

function addLogin(admin: Command, context: CliContext): void {
  addCommand(admin, "login", "log in as an administrator; the login holds for 15 minutes")
    .argument("<origin>", "the instance, such as https://ouest.example", parseOrigin)
    .option("--user <name>", "user name", "admin")
    .option("--password-file <file>", "file that holds the password; otherwise it is asked for")
    .action(async (origin: string, options: { user: string; passwordFile?: string }) => {
      const question = `Password of ${options.user} at ${origin}`;
      const password = await readSecret(context.prompt, {
        file: options.passwordFile,
        option: "--password-file",
        question,
      });
      const answer = await logInAdministrator(context, origin, options.user, password);
      const seconds = answer.expires_in;
      context.output.done(
        { origin, username: options.user, role: answer.role, expires_in: seconds },
        `Logged in at ${origin} as ${options.user} (${answer.role}), for ${Math.round(seconds / 60)} minutes.`,
      );
    });
}

/** For whoever has lost the password: unlike the others it works on the stores, with the settings of `serve`. */
function addPasswordReset(admin: Command, { output }: CliContext): void {
  addCommand(admin, "reset-password", "on the node's machine: a new password, and the end of who is logged in")
    .argument("[name]", "user name", "admin")
    .action(async (username: string) => {
      const { replaceLostPassword } = await import("./serve.ts");
      const { password } = await replaceLostPassword(username);
      output.done({ username, password }, password);
      output.note(`The new password of ${username}: it is kept nowhere, keep it now.`);
    });
}
