/** Receipts of the node on every instance (docs/protocol.md, "Receipts"). */
import type { JsonObject } from "../protocol/objects.ts";
import type { Client } from "./client.ts";
import { listEverywhere, type MergedList } from "./listing.ts";

export interface ReceiptRow extends JsonObject {
  readonly id: string;
  /** Id of the activity that was accepted. */
  readonly activity: string;
  readonly direction: "in" | "out";
  readonly peer: string;
  /** What the activity was about: a project, or a platform. */
  readonly object: string | null;
  /** Of the project. */
  readonly code: string | null;
  readonly effect: string;
  readonly received_at: string;
  readonly jws: string;
}

/** Receipts for what was sent (`in`) or for what arrived (`out`), of one instance or of all. */
export async function listReceipts(
  client: Client,
  filter: { readonly instance?: string | undefined; readonly direction: "in" | "out" },
): Promise<MergedList<ReceiptRow>> {
  const { items, unreachable } = await listEverywhere<ReceiptRow>(
    client,
    "/receipts",
    { direction: filter.direction },
    filter.instance,
  );
  return { items, unreachable };
}
