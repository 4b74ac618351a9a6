/** What a submitted project holds: its columns, and everything that its home judges before it is stored. */
import { inspectEnvelope } from "../crypto/envelope-inspection.ts";
import { judgeSubmittedKids } from "../crypto/recipients.ts";
import { Problem } from "../errors.ts";
import { protocolVersion } from "../protocol/activities.ts";
import { objectDigest } from "../protocol/canonical-json.ts";
import { isLive } from "../protocol/grants.ts";
import {
  type Grant,
  type JsonObject,
  type JudgedShape,
  type Project,
  refuseUnknownMembers,
  type Tolerance,
} from "../protocol/objects.ts";
import type { Tx } from "../storage/database.ts";
import { listHolders } from "./access.ts";
import { findEntities } from "./entities.ts";
import { findFrameworks, frameworkKey } from "./frameworks.ts";
import { listKids, newestKids } from "./key-bundles.ts";
import { findReachable } from "./platforms.ts";

/** Everything that is judged with 422: references, grantees, members in clear, the envelope and whom it is for. */
export async function judgeContent(
  tx: Tx,
  judged: JudgedShape<Project>,
  { sender, now, ...tolerance }: { readonly sender: string; readonly now: Date } & Tolerance,
): Promise<void> {
  refuseUnknownMembers(judged, tolerance);
  const project = judged.value;
  // What a platform elsewhere edits may name what only its own node has registered.
  if (sender === project.attributedTo) await requireReferences(tx, project);
  const owner = project.attributedTo;
  const grants = project["hf:grants"];
  if (grants.some((grant) => grant.platform === owner)) {
    throw new Problem("grants_refused", "The owner needs no grant.");
  }
  await requireReachable(tx, grants);
  const envelope = inspectEnvelope(project);
  if (envelope.sender !== sender) throw new Problem("envelope_binding", "The envelope's sender is not who submits it.");
  const parties = [owner, ...grants.filter((grant) => isLive(grant, now)).map((grant) => grant.platform)];
  // Whoever held access before may be the one for whom it is still sealed.
  const history = await listKids(tx, [...parties, ...(await listHolders(tx, project.id))]);
  const stale = judgeSubmittedKids({
    kids: envelope.kids,
    parties,
    history,
    newestKids: await newestKids(tx, parties),
  });
  if (!stale.accepted) {
    throw new Problem(
      "recipients_stale",
      "The envelope is not sealed for exactly the newest keys of owner and grantees.",
      { platforms: stale.platforms },
      sender === owner ? undefined : 409,
    );
  }
}

async function requireReferences(tx: Tx, project: Project): Promise<void> {
  const entityNames = (project["hf:entities"] ?? []).map((item) => item.name);
  const frameworkItems = project["hf:frameworks"] ?? [];
  const knownEntities = await findEntities(tx, entityNames);
  const knownFrameworks = await findFrameworks(tx, frameworkItems);
  const missing = [
    ...entityNames.flatMap((name, at) => (knownEntities.has(name) ? [] : [`object.hf:entities.${at}`])),
    ...frameworkItems.flatMap((item, at) =>
      knownFrameworks.has(frameworkKey(item)) ? [] : [`object.hf:frameworks.${at}`],
    ),
  ];
  if (missing.length > 0) {
    const errors = missing.map((path) => ({ path, code: "unknown_reference", message: "is not registered here" }));
    throw new Problem("unknown_reference", "Entities are named as registered; frameworks by kind and name.", {
      errors,
    });
  }
}

async function requireReachable(tx: Tx, grants: readonly Grant[]): Promise<void> {
  const reachable = await findReachable(
    tx,
    grants.map((grant) => grant.platform),
  );
  const errors = grants.flatMap((grant, at) =>
    reachable.has(grant.platform)
      ? []
      : [{ path: `object.hf:grants.${at}`, code: "unknown_reference", message: "is no platform known here" }],
  );
  if (errors.length > 0) {
    throw new Problem("unknown_reference", "A grant names a platform that this node does not know.", { errors });
  }
}

/**
 * What lists are made of, out of the snapshot and nothing else; `protocol` is the newest of which it holds members, so
 * that those to whom it is sent on do not take them for a slip.
 */
export function columnsOf({ value: project, unknown }: JudgedShape<Project>, newest = protocolVersion) {
  return {
    protocol: unknown.length === 0 ? protocolVersion : newest,
    revision: project["hf:revision"],
    digest: objectDigest(project),
    object: project as unknown as JsonObject,
    code: project["hf:code"],
    name: project.name ?? null,
    status: project["hf:status"] ?? null,
    startDate: project["hf:startDate"] ?? null,
    endDate: project["hf:endDate"] ?? null,
  };
}
