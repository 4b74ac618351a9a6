/** What the node knows of its peers and platforms, as its administrator sees it: from the database, or from the node that runs. */
import { system } from "../registry/caller.ts";
import type { Page } from "../registry/paging.ts";
import { listPeers, type Peer } from "../registry/peer-views.ts";
import { listPlatforms, type Platform } from "../registry/platforms.ts";
import type { Tx } from "../storage/database.ts";

export interface Facts {
  readonly peers: readonly Peer[];
  readonly platforms: readonly Platform[];
}

export async function readFacts(tx: Tx): Promise<Facts> {
  return {
    peers: await readAll((page) => listPeers(tx, system, page)),
    platforms: await readAll((page) => listPlatforms(tx, system, page)),
  };
}

async function readAll<T>(
  read: (page: { limit: number; cursor: string | undefined }) => Promise<Page<T>>,
): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | undefined;
  do {
    const page = await read({ limit: 200, cursor });
    items.push(...page.items);
    cursor = page.next_cursor ?? undefined;
  } while (cursor !== undefined);
  return items;
}
