/** Logins of the administrator: tokens of at most 15 minutes, kept apart from any vault, readable by their owner alone. */
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { JsonObject } from "../protocol/objects.ts";
import { createRestClient, type LoginAnswer, logIn, type RestClient, reword } from "../sdk/rest.ts";
import { parseOrigin } from "./arguments.ts";
import type { CliContext } from "./context.ts";
import { CliError } from "./prompt.ts";

interface Session {
  readonly username: string;
  readonly access_token: string;
  /** Instant. */
  readonly expires_at: string;
}

interface Sessions {
  /** Origin of the newest login: where to log in again, once none is alive. */
  readonly last: string | null;
  readonly sessions: Readonly<Record<string, Session>>;
}

/** The option by which every command of the administrator says where. */
export const originOption = [
  "--origin <origin>",
  "the instance that you administer, where several logins are alive",
  parseOrigin,
] as const;

const fileOf = (context: CliContext) => join(context.adminDir, "admin.json");

async function readSessions(context: CliContext): Promise<Sessions> {
  try {
    return JSON.parse(await readFile(fileOf(context), "utf8")) as Sessions;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return { last: null, sessions: {} };
    throw new CliError(
      "unreadable_file",
      `${fileOf(context)} cannot be read; remove it and log in again.`,
      {},
      { cause },
    );
  }
}

function livingOf({ sessions }: Sessions, now: Date): Sessions["sessions"] {
  return Object.fromEntries(
    Object.entries(sessions).filter(([, session]) => Date.parse(session.expires_at) > now.getTime()),
  );
}

async function writeSessions(context: CliContext, sessions: Sessions): Promise<void> {
  await mkdir(context.adminDir, { recursive: true, mode: 0o700 });
  const temporary = `${fileOf(context)}.${process.pid}`;
  await writeFile(temporary, `${JSON.stringify(sessions)}\n`, { mode: 0o600 });
  await rename(temporary, fileOf(context));
}

/**
 * Logs in and remembers the token.
 * @throws {CliError} `not_administrator`
 */
export async function logInAdministrator(
  context: CliContext,
  origin: string,
  username: string,
  password: string,
): Promise<LoginAnswer> {
  const unknown = `${origin} does not know the user ${username} with this password; who has lost it: concordat admin reset-password, on the node's machine.`;
  const { token, answer } = await logIn({ ...context, origin }, { username, password }).catch(
    reword("invalid_credentials", unknown),
  );
  if (!answer.is_admin) {
    throw new CliError(
      "not_administrator",
      `${username} is not an administrator of ${origin}; platforms use \`join\`.`,
    );
  }
  const known = await readSessions(context);
  const living = livingOf(known, context.clock());
  const session = {
    username,
    access_token: token.accessToken,
    expires_at: new Date(token.expiresAt).toISOString(),
  };
  await writeSessions(context, { last: origin, sessions: { ...living, [origin]: session } });
  return answer;
}

/**
 * The REST API as the administrator who logged in at `origin`; where it is absent, at the one origin with a login.
 * @throws {CliError} `not_logged_in`, `several_logins`
 */
export async function openAdmin(context: CliContext, origin: string | undefined): Promise<RestClient> {
  const known = await readSessions(context);
  const living = livingOf(known, context.clock());
  const [only, ...others] = Object.keys(living);
  if (origin === undefined && others.length > 0) {
    throw new CliError("several_logins", "Logins at several instances are alive; say which with --origin.", {
      instances: Object.keys(living),
    });
  }
  const at = origin ?? only ?? known.last;
  const session = at === null ? undefined : living[at];
  if (at === null || session === undefined) throw noLogin(context, known, origin, at);
  const token = { accessToken: session.access_token, expiresAt: Date.parse(session.expires_at) };
  return createRestClient({ ...context, origin: at }, { token });
}

/** Why there is no login: `origin` was asked for, and `at` is what that means. */
function noLogin(context: CliContext, { sessions }: Sessions, origin: string | undefined, at: string | null): CliError {
  const file = fileOf(context);
  const ended = Object.keys(sessions);
  if (origin === undefined && ended.length > 1) {
    const message = "The logins have ended (they hold for 15 minutes): concordat admin login ORIGIN";
    return new CliError("not_logged_in", message, { instances: ended });
  }
  const why =
    at === null || sessions[at] === undefined
      ? `No login${at === null ? "" : ` at ${at}`} is in ${file}`
      : "The login has ended (it holds for 15 minutes)";
  return new CliError("not_logged_in", `${why}: concordat admin login ${at ?? "ORIGIN"}`, { file });
}

/**
 * The one item of a list that `name` means, by one of `members`.
 * @throws {CliError} `not_found`, `ambiguous`
 */
export function pickItem(
  items: readonly JsonObject[],
  members: readonly string[],
  name: string,
  what: string,
): JsonObject & { readonly id: string } {
  const found = items.filter((item) => members.some((member) => item[member] === name));
  const [item] = found;
  if (item === undefined || typeof item.id !== "string") {
    throw new CliError("not_found", `There is no ${what} ${name} here.`, { name });
  }
  if (found.length > 1) {
    throw new CliError("ambiguous", `Several are meant by ${name}; give the id.`, { ids: found.map(({ id }) => id) });
  }
  return item as JsonObject & { readonly id: string };
}
