/** The end of a platform of this node, told to everybody who knew it (docs/protocol.md, "Activities"). */
import type { Caller } from "../registry/caller.ts";
import { removePlatform } from "../registry/platform-endings.ts";
import { appendAnnouncements } from "./append.ts";
import type { Commit } from "./commit.ts";
import { announceRemoval } from "./directory.ts";

/** Removes a platform for good. @throws {Problem} `not_found`, `state_conflict` */
export async function endPlatform(commit: Commit, caller: Caller, id: string): Promise<void> {
  await commit(async (tx, context) => {
    const { row, announcements } = await removePlatform(tx, caller, id, context.now);
    const { lanes } = await appendAnnouncements(tx, context, announcements);
    return { value: undefined, lanes: [...lanes, ...(await announceRemoval(tx, context, row))] };
  });
}
