/** NodeInfo 2.1: what software runs here. It tells no numbers of users or content. */
import type { JsonObject } from "../protocol/objects.ts";

const schema = "http://nodeinfo.diaspora.software/ns/schema/2.1";

/** `/.well-known/nodeinfo` */
export function nodeInfoLinks(origin: string): JsonObject {
  return { links: [{ rel: schema, href: `${origin}/nodeinfo/2.1` }] };
}

/** `/nodeinfo/2.1` */
export function nodeInfo({ version }: { readonly version: string }): JsonObject {
  return {
    version: "2.1",
    software: { name: "concordat", version },
    protocols: ["activitypub"],
    services: { inbound: [], outbound: [] },
    openRegistrations: false,
    usage: { users: {} },
    metadata: {},
  };
}
