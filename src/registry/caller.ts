/**
 * On whose behalf the registry is read or changed. Every function that reads for somebody takes one, but for entities and
 * frameworks, which are the same for everybody: there is no unscoped variant.
 */
import { Problem } from "../errors.ts";
import type { Permission, PlatformRight } from "../protocol/rights.ts";

export interface AdministratorCaller {
  readonly kind: "administrator";
  readonly id: string;
  readonly name: string;
  readonly permissions: ReadonlySet<Permission>;
  readonly sessionId: string;
}

export interface PlatformCaller {
  readonly kind: "platform";
  readonly id: string;
  readonly uri: string;
  readonly handle: string;
  readonly rights: ReadonlySet<PlatformRight>;
  readonly sessionId: string;
}

/** The node itself: peering, sweeps, delivery. */
export interface SystemCaller {
  readonly kind: "system";
}

export type Caller = AdministratorCaller | PlatformCaller | SystemCaller;

export const system: SystemCaller = { kind: "system" };

/** What the journal names as the one who acted: an actor URI, or `administrator:<name>`, or the node. */
export function nameCaller(caller: Caller): string {
  if (caller.kind === "platform") return caller.uri;
  return caller.kind === "administrator" ? `administrator:${caller.name}` : "node";
}

/** @throws {Problem} `right_missing` */
export function requireRight(caller: PlatformCaller, right: PlatformRight): void {
  if (!caller.rights.has(right)) {
    throw new Problem("right_missing", `This needs the right ${right}.`, { right });
  }
}

/** The node itself needs no permission. @throws {Problem} `right_missing` */
export function requirePermission(caller: Caller, permission: Permission): void {
  if (caller.kind === "system" || (caller.kind === "administrator" && caller.permissions.has(permission))) return;
  throw new Problem("right_missing", `This needs the right ${permission}.`, { right: permission });
}
