/**
 * Edits by editable grantees: the owner's node is the sequencer. It applies them and sends them on, object untouched;
 * another node proposes them to it and changes nothing by itself (docs/protocol.md, "Activities").
 */
import { eq } from "drizzle-orm";
import { inspectEnvelope } from "../crypto/envelope-inspection.ts";
import { Problem } from "../errors.ts";
import { protocolVersion } from "../protocol/activities.ts";
import { canonicalJson, objectDigest } from "../protocol/canonical-json.ts";
import { type JsonObject, type JudgedShape, type Project, refuseUnknownMembers } from "../protocol/objects.ts";
import type { Tx } from "../storage/database.ts";
import { objects } from "../storage/schema.ts";
import { lockObject, readMode } from "./access.ts";
import { announceSnapshot, type ObjectRow, type Written } from "./announcements.ts";
import { recordEffects } from "./journal.ts";
import { columnsOf, judgeContent } from "./project-content.ts";

/** An edit that arrived at the object's home. @throws {Problem} `not_found`, `not_owner`, `revision_stale`, 422 */
export async function receiveEdit(
  tx: Tx,
  editor: string,
  judged: JudgedShape<Project>,
  { baseRevision, protocol, now }: { readonly baseRevision: number; readonly protocol: number; readonly now: Date },
): Promise<Written> {
  const project = judged.value;
  await lockObject(tx, project.id);
  const [row] = await tx.select().from(objects).where(eq(objects.uri, project.id));
  if (!row?.local || row.deletedAt || !(await readMode(tx, project.id, editor, now))) throw new Problem("not_found");
  if (project.attributedTo !== row.ownerUri) throw new Problem("not_owner", "attributedTo never changes.");
  if (project["hf:revision"] !== baseRevision + 1) throw staleAgainst(row);
  return await applyEdit(tx, editor, row, judged, { protocol, now });
}

/** Applies an edit at the object's home. @throws {Problem} `not_owner`, `revision_stale`, `grants_refused`, 422 */
export async function applyEdit(
  tx: Tx,
  editor: string,
  row: ObjectRow,
  judged: JudgedShape<Project>,
  { protocol = protocolVersion, now }: { readonly protocol?: number; readonly now: Date },
): Promise<Written> {
  const project = judged.value;
  await requireEditable(tx, editor, row, now);
  if (standsAlready(row, project)) return { id: row.id, changed: false, announcements: [] };
  judgeExtent(row, project);
  await judgeContent(tx, judged, { sender: editor, now, newer: protocol > protocolVersion, before: row.object });
  const columns = columnsOf(judged, Math.max(protocol, row.protocol));
  await tx
    .update(objects)
    .set({ ...columns, ownerObject: newestOfOwner(row), updatedAt: now })
    .where(eq(objects.uri, row.uri));
  const grantees = project["hf:grants"].map((grant) => grant.platform);
  await recordEffects(tx, {
    at: now,
    actor: editor,
    action: "project.updated",
    object: row.uri,
    data: { revision: project["hf:revision"] },
    audience: [row.ownerUri, ...grantees],
  });
  return { id: row.id, changed: true, announcements: announceSnapshot("Update", project, grantees, columns.protocol) };
}

/** Sends an edit to the object's home; what stands here changes when that sends it back. @throws {Problem} as there */
export async function proposeEdit(
  tx: Tx,
  editor: string,
  row: ObjectRow,
  judged: JudgedShape<Project>,
  now: Date,
): Promise<Written> {
  const project = judged.value;
  await requireEditable(tx, editor, row, now);
  if (standsAlready(row, project)) return { id: row.id, changed: false, announcements: [] };
  judgeExtent(row, project);
  refuseUnknownMembers(judged, { before: row.object });
  const envelope = inspectEnvelope(project);
  if (envelope.sender !== editor) throw new Problem("envelope_binding", "The envelope's sender is not who submits it.");
  const revision = project["hf:revision"];
  await recordEffects(tx, {
    at: now,
    actor: editor,
    action: "project.edit_proposed",
    object: row.uri,
    data: { revision },
    audience: [editor],
  });
  return {
    id: row.id,
    changed: false,
    announcements: [
      {
        actor: editor,
        type: "Update",
        object: project as unknown as JsonObject,
        objectUri: row.uri,
        revision,
        baseRevision: row.revision,
        recipients: [row.ownerUri],
        bundlesOf: [editor],
      },
    ],
  };
}

/** @throws {Problem} `not_owner` to whom the project is shared for reading only, or no longer */
async function requireEditable(tx: Tx, editor: string, row: ObjectRow, now: Date): Promise<void> {
  const mode = await readMode(tx, row.uri, editor, now);
  if (mode !== "editable") throw new Problem("not_owner", "This grant is read-only.");
}

/** Is it the very snapshot that stands here, said once more? */
function standsAlready(row: ObjectRow, project: Project): boolean {
  return project["hf:revision"] === row.revision && row.digest === objectDigest(project);
}

/** An edit is the next revision, and leaves code and grants as they are. @throws {Problem} `revision_stale`, `grants_refused` */
function judgeExtent(row: ObjectRow, project: Project): void {
  if (project["hf:revision"] !== row.revision + 1) throw staleAgainst(row);
  const before = row.object as unknown as Project;
  if (
    project["hf:code"] !== before["hf:code"] ||
    canonicalJson(project["hf:grants"]) !== canonicalJson(before["hf:grants"])
  ) {
    throw new Problem("grants_refused", "An edit leaves code and grants as the owner set them.");
  }
}

function staleAgainst(row: ObjectRow): Problem {
  return new Problem("revision_stale", "The revision is not the one behind the current one.", {
    current_revision: row.revision,
  });
}

/** The newest snapshot that the owner sealed, to stand beside a grantee's edit. */
export function newestOfOwner(row: ObjectRow): JsonObject | null {
  if (row.ownerObject) return row.ownerObject;
  if (row.object === null) return null;
  return inspectEnvelope(row.object).sender === row.ownerUri ? row.object : null;
}
