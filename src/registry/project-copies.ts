/** Projects of platforms elsewhere: what their home sends is kept as one copy, beside it who of this node may read it. */
import { eq } from "drizzle-orm";
import { inspectEnvelope } from "../crypto/envelope-inspection.ts";
import { judgeReceivedKids } from "../crypto/recipients.ts";
import { Problem } from "../errors.ts";
import { protocolVersion } from "../protocol/activities.ts";
import { objectDigest } from "../protocol/canonical-json.ts";
import { isLive } from "../protocol/grants.ts";
import { mintUuid } from "../protocol/ids.ts";
import { type JsonObject, type JudgedShape, type Project, refuseUnknownMembers } from "../protocol/objects.ts";
import type { Tx } from "../storage/database.ts";
import { objects } from "../storage/schema.ts";
import { endAccess, followGrants, listHolders, lockObject, readWithdrawals } from "./access.ts";
import type { ObjectRow } from "./announcements.ts";
import { recordEffects } from "./journal.ts";
import { listKids } from "./key-bundles.ts";
import { findLocal, holdLocal, isRemoved, wasOneLocal } from "./platforms.ts";
import { columnsOf } from "./project-content.ts";
import { newestOfOwner } from "./project-edits.ts";

/** What became of a received snapshot; `revision` is the one held, where what came is older. */
export type CopyEffect =
  /** `recipients` may read it now. */
  | { readonly effect: "applied"; readonly recipients?: readonly string[] }
  /** For platforms that are gone from here. */
  | { readonly effect: "unhandled" }
  | { readonly effect: "stale"; readonly revision?: number };

const applied: CopyEffect = { effect: "applied" };

async function readRow(tx: Tx, uri: string) {
  const [row] = await tx.select().from(objects).where(eq(objects.uri, uri));
  return row;
}

/**
 * Stores a snapshot that its owner's node sent: higher wins, lower is stale, tombstones and withdrawals stay.
 * @param sender the activity's actor, of whom is known that it signed and that the id is on its origin
 * @param sentAt when it was made: grants that were live then are sealed for, however late it arrives
 * @param protocol that of the activity: under a newer one than ours, members unknown here are kept
 * @throws {Problem} `not_owner`, `not_for_us`, `content_conflict`, `clear_field_refused`, `envelope_*`, `recipients_missing`
 */
export async function receiveProject(
  tx: Tx,
  sender: string,
  judged: JudgedShape<Project>,
  { protocol, sentAt, now }: { readonly protocol: number; readonly sentAt: Date; readonly now: Date },
): Promise<CopyEffect> {
  const project = judged.value;
  const newer = protocol > protocolVersion;
  const uri = project.id;
  const revision = project["hf:revision"];
  if (project.attributedTo !== sender) throw new Problem("not_owner", "attributedTo is not the activity's actor.");
  const grants = project["hf:grants"];
  const grantees = grants.map((grant) => grant.platform);
  const local = [...(await holdLocal(tx, grantees))];
  if (local.length === 0) {
    if (await wasOneLocal(tx, grantees)) return { effect: "unhandled" };
    throw new Problem("not_for_us");
  }
  // Overtaken by the word that its owner is gone.
  if (await isRemoved(tx, sender)) return { effect: "stale" };

  await lockObject(tx, uri);
  const before = await readRow(tx, uri);
  if (before) {
    if (before.ownerUri !== sender) throw new Problem("not_owner", "The object belongs to another platform.");
    if (before.deletedAt) return { effect: "stale" };
    if (revision < before.revision) {
      await keepForJudgement(tx, before, judged, newer);
      return { effect: "stale", revision: before.revision };
    }
    if (revision === before.revision && before.object !== null) {
      if (before.digest === objectDigest(project)) return applied;
      throw new Problem("content_conflict", "That revision is held with other content.", {
        current_revision: before.revision,
      });
    }
  }
  const withdrawals = await readWithdrawals(tx, uri, local);
  const readers = local.filter((platform) => (withdrawals.get(platform) ?? 0) < revision);
  if (readers.length === 0) return { effect: "stale", revision: Math.max(...withdrawals.values()) };

  refuseUnknownMembers(judged, { newer });
  const sealedBy = await judgeEnvelope(tx, project, new Set(local), sentAt);
  const ownerObject = sealedBy === sender || !before ? null : newestOfOwner(before);
  const columns = { ...columnsOf(judged, protocol), ownerObject, updatedAt: now };
  await tx
    .insert(objects)
    .values({
      ...columns,
      uri,
      id: mintUuid(),
      type: "hf:Project",
      ownerUri: sender,
      local: false,
      deletedAt: null,
      createdAt: now,
    })
    .onConflictDoUpdate({ target: objects.uri, set: columns });
  await recordArrival(tx, project, readers, now);
  await followGrants(tx, { uri, owner: sender, grants, revision }, now);
  const begun = grants.filter((grant) => isLive(grant, now)).map((grant) => grant.platform);
  return { effect: "applied", recipients: readers.filter((platform) => begun.includes(platform)) };
}

/**
 * The envelope's shape and binding, and that each platform here with a live grant can open it, if only with a key that it
 * has replaced. Gives who sealed it.
 */
async function judgeEnvelope(tx: Tx, project: Project, here: ReadonlySet<string>, sentAt: Date): Promise<string> {
  const envelope = inspectEnvelope(project);
  const editors = project["hf:grants"].filter((grant) => grant.mode === "editable").map((grant) => grant.platform);
  if (![project.attributedTo, ...editors].includes(envelope.sender)) {
    throw new Problem("envelope_binding", "The envelope's sender is neither the owner nor an editable grantee.");
  }
  const ours = project["hf:grants"].filter((grant) => here.has(grant.platform) && isLive(grant, sentAt));
  const local = ours.map((grant) => grant.platform);
  const verdict = judgeReceivedKids({ kids: envelope.kids, local, history: await listKids(tx, local) });
  if (!verdict.accepted) {
    throw new Problem("recipients_missing", "The envelope is not sealed for every addressed platform of this node.", {
      platforms: verdict.platforms,
    });
  }
  return envelope.sender;
}

/**
 * An older snapshot by the owner that arrives behind a grantee's edit: it changes nothing, but a vault without history
 * needs it to judge the edit.
 */
async function keepForJudgement(tx: Tx, held: ObjectRow, judged: JudgedShape<Project>, newer: boolean): Promise<void> {
  const project = judged.value;
  if (held.object === null || inspectEnvelope(held.object).sender === held.ownerUri) return;
  if (inspectEnvelope(project).sender !== held.ownerUri) return;
  const known = held.ownerObject?.["hf:revision"];
  if (typeof known === "number" && known >= project["hf:revision"]) return;
  refuseUnknownMembers(judged, { newer });
  await tx
    .update(objects)
    .set({ ownerObject: project as unknown as JsonObject })
    .where(eq(objects.uri, held.uri));
}

async function recordArrival(tx: Tx, project: Project, readers: readonly string[], now: Date): Promise<void> {
  const held = new Set(await listHolders(tx, project.id));
  const entry = {
    at: now,
    actor: project.attributedTo,
    object: project.id,
    data: { revision: project["hf:revision"] },
  };
  const added = readers.filter((platform) => !held.has(platform));
  const others = readers.filter((platform) => held.has(platform));
  await recordEffects(
    tx,
    ...(added.length > 0 ? [{ ...entry, action: "project.shared", audience: added }] : []),
    ...(others.length > 0 ? [{ ...entry, action: "project.updated", audience: others }] : []),
  );
}

/** The owner's node says that a platform here has no access from `revision` on. @throws {Problem} `not_owner`, `not_for_us` */
export async function removeGrantee(
  tx: Tx,
  sender: string,
  { platform, uri, revision }: { readonly platform: string; readonly uri: string; readonly revision: number },
  now: Date,
): Promise<CopyEffect> {
  if ((await findLocal(tx, [platform])).size === 0) {
    if (await wasOneLocal(tx, [platform])) return applied;
    throw new Problem("not_for_us");
  }
  await lockObject(tx, uri);
  const before = await readRow(tx, uri);
  if (before && before.ownerUri !== sender) throw new Problem("not_owner", "The object belongs to another platform.");
  if (before?.deletedAt) return { effect: "stale" };
  // A snapshot of that revision or a later one already says who may read it.
  if (before?.object && revision < before.revision) return { effect: "stale", revision: before.revision };
  await endAccess(tx, uri, platform, revision, now);
  await forgetUnread(tx, uri);
  await recordEffects(tx, {
    at: now,
    actor: sender,
    action: "project.unshared",
    object: uri,
    data: { revision },
    audience: [platform],
  });
  return applied;
}

/** The ciphertext goes when no platform of this node has access any more. */
export async function forgetUnread(tx: Tx, uri: string): Promise<void> {
  const local = await findLocal(tx, await listHolders(tx, uri));
  if (local.size > 0) return;
  await tx.update(objects).set({ object: null, ownerObject: null }).where(eq(objects.uri, uri));
}

/** A tombstone from the object's home; it is kept also for an object that never came here. @throws {Problem} `not_owner` */
export async function receiveTombstone(tx: Tx, sender: string, uri: string, now: Date): Promise<CopyEffect> {
  await lockObject(tx, uri);
  const before = await readRow(tx, uri);
  if (before && before.ownerUri !== sender) throw new Problem("not_owner", "The object belongs to another platform.");
  if (before?.deletedAt) return applied;
  const gone = { object: null, ownerObject: null, deletedAt: now, updatedAt: now };
  await tx
    .insert(objects)
    .values({
      ...gone,
      uri,
      id: mintUuid(),
      type: "hf:Project",
      ownerUri: sender,
      local: false,
      revision: 0,
      digest: "",
      createdAt: now,
    })
    .onConflictDoUpdate({ target: objects.uri, set: gone });
  const audience = [...(await findLocal(tx, await listHolders(tx, uri)))];
  await recordEffects(tx, { at: now, actor: sender, action: "project.deleted", object: uri, audience });
  return { effect: "applied", recipients: audience };
}
