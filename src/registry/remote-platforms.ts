/** Platforms of other nodes, however this one came to know of them: their own node, a bundle passed on, their removal. */
import { mintUuid, originOf } from "../protocol/ids.ts";
import type { platforms } from "../storage/schema.ts";

type NewRow = typeof platforms.$inferInsert;

/** A row for such a platform; what its node has not said of it is read off its URI. */
export function remotePlatform(
  uri: string,
  now: Date,
  said: Partial<Pick<NewRow, "handle" | "name" | "status">> = {},
): NewRow {
  const handle = new URL(uri).pathname.split("/").at(-1) ?? uri;
  const row = { id: mintUuid(), uri, handle, name: handle, status: "active" as const, rights: [] };
  return { ...row, homeOrigin: originOf(uri), createdAt: now, updatedAt: now, ...said };
}
