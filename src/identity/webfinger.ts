/** WebFinger (RFC 7033): from `acct:handle@host` or an actor's URL to the actor. */
import { Problem } from "../errors.ts";
import { activityMediaType } from "../protocol/activities.ts";
import { actorIds, isCanonicalId } from "../protocol/ids.ts";
import type { JsonObject } from "../protocol/objects.ts";

export interface WebFingerDependencies {
  readonly origin: string;
  /** A platform of this node, or nothing. */
  readonly findPlatform: (handle: string) => Promise<{ readonly status: string } | undefined>;
}

/** The JRD of a resource. @throws {Problem} `invalid` (malformed), `not_found`, `gone` */
export async function answerWebFinger(
  resource: string | undefined,
  { origin, findPlatform }: WebFingerDependencies,
): Promise<JsonObject> {
  const { host, hostname } = new URL(origin);
  const actor = actorOf(resource ?? "", origin);
  const instance = actorIds.instance(origin);
  const handle = handleOf(actor, origin);
  const describe = (username: string, href: string): JsonObject => ({
    subject: `acct:${username}@${host}`,
    aliases: [href],
    links: [{ rel: "self", type: activityMediaType, href }],
  });
  const platform = handle === null ? undefined : await findPlatform(handle);
  if (handle !== null && platform?.status === "active") return describe(handle, actor);
  if (platform?.status === "removed") throw new Problem("gone");
  // Other software takes an actor only when its preferred user name leads back to it; a platform of that name goes first.
  const isInstance = actor === instance || (handle === hostname && resource?.startsWith("acct:"));
  if (isInstance) return describe(hostname, instance);
  throw new Problem("not_found");
}

/** The actor that a resource names, on whatever host it is. */
function actorOf(resource: string, origin: string): string {
  const account = /^acct:([^@\s]+)@([^@\s/]+)$/.exec(resource);
  if (account) {
    const [, handle = "", host = ""] = account;
    if (host.toLowerCase() !== new URL(origin).host) throw new Problem("not_found");
    return actorIds.platform(origin, handle);
  }
  if (isCanonicalId(resource)) return resource;
  throw new Problem("invalid", "resource is acct:handle@host or the URL of an actor.", {
    errors: [{ path: "resource", code: "invalid_format", message: "is acct:handle@host or the URL of an actor" }],
  });
}

function handleOf(actor: string, origin: string): string | null {
  const prefix = actorIds.platform(origin, "");
  const handle = actor.slice(prefix.length);
  return actor.startsWith(prefix) && handle !== "" && !handle.includes("/") ? handle : null;
}
