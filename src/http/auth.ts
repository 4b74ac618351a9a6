/** Who calls the REST API: the session that an access token names, as it is now. */
import { Problem } from "../errors.ts";
import type { NodeKeys } from "../identity/node-keys.ts";
import { verifyAccessToken } from "../identity/tokens.ts";
import type { AdministratorCaller, PlatformCaller } from "../registry/caller.ts";
import { resolveSession } from "../registry/sessions.ts";
import type { Database } from "../storage/database.ts";

export interface AuthDependencies {
  readonly database: Database;
  readonly keys: NodeKeys;
  readonly origin: string;
  readonly clock: () => Date;
}

/** @throws {Problem} `unauthenticated`: no token, a bad one, or one that was ended meanwhile */
export async function authenticate(
  { database, keys, origin, clock }: AuthDependencies,
  authorization: string,
): Promise<AdministratorCaller | PlatformCaller> {
  const [scheme, token, ...rest] = authorization.split(" ");
  if (scheme?.toLowerCase() !== "bearer" || token === undefined || rest.length > 0)
    throw new Problem("unauthenticated");
  const now = clock();
  const claims = await verifyAccessToken(token, { keys, origin, now });
  const caller = claims && (await resolveSession(database.db, claims.sessionId, now));
  if (!caller) throw new Problem("unauthenticated", "The access token is not valid or no longer; log in again.");
  return caller;
}
