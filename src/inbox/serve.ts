/**
 * Objects and activities for the peers whose platforms have a grant in them: a GET signed by their instance actor. Every
 * other GET finds nothing, whatever the reason (docs/protocol.md, "Identifiers and documents").
 */
import { isRefusal, Problem } from "../errors.ts";
import { readActivityBody } from "../outbox/deliveries.ts";
import type { JsonObject } from "../protocol/objects.ts";
import { countRefusal, recordRefusal } from "../registry/journal.ts";
import type { PeerRow } from "../registry/peers.ts";
import { readForPeer } from "../registry/project-views.ts";
import { parseSignature } from "../signatures/policy.ts";
import type { HttpRequest } from "../signatures/request.ts";
import type { Database } from "../storage/database.ts";
import { identifyInstance, readClaimedOrigin, requireHost, type VerifyDependencies } from "./verify.ts";

export interface ServeDependencies extends VerifyDependencies {
  readonly database: Database;
}

/** A GET of an object or an activity. */
interface ObjectRequest extends HttpRequest {
  readonly address: string;
  readonly arrivedAt: Date;
}

/** The object or activity of that URI, for the signer. @throws {Problem} `not_found` */
export async function serveObject(
  dependencies: ServeDependencies,
  request: ObjectRequest,
  uri: string,
): Promise<JsonObject> {
  try {
    const peer = await verifyReader(dependencies, request);
    const { db } = dependencies.database;
    const isActivity = uri.startsWith(`${dependencies.origin}/activities/`);
    const found = isActivity
      ? await readActivityBody(db, peer.origin, uri, request.arrivedAt)
      : await readForPeer(db, peer.origin, uri, request.arrivedAt);
    if (!found) throw new Problem("not_found");
    return found;
  } catch (error) {
    if (!isRefusal(error)) throw error;
    await journalRefusal(dependencies, request, uri, error);
    throw new Problem("not_found");
  }
}

async function verifyReader(dependencies: VerifyDependencies, request: ObjectRequest): Promise<PeerRow> {
  const signature = parseSignature(request);
  requireHost(request, dependencies.origin);
  const { peer } = await identifyInstance(dependencies, request, signature);
  return peer;
}

async function journalRefusal(
  { database, readPeer }: ServeDependencies,
  request: ObjectRequest,
  object: string,
  problem: Problem,
): Promise<void> {
  const claimed = readClaimedOrigin(request);
  const peer = claimed === null ? undefined : await readPeer(claimed);
  const entry = { at: request.arrivedAt, actor: claimed, action: "object.refused", address: request.address };
  if (peer?.state === "approved") await recordRefusal(database.db, problem.code, { ...entry, object });
  else await countRefusal(database.db, problem.code, request.address, entry);
}
