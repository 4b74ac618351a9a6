/** Rights of platforms and permissions of administrators (docs/protocol.md, "Platform and administrator API"). */
export const platformRights = [
  "directory:read",
  "projects:read",
  "projects:write",
  "projects:share",
  "exports:request",
  "exports:hold",
  "datasets:write",
  "members:write",
] as const;
export type PlatformRight = (typeof platformRights)[number];

/** What a platform gets when the administrator names no rights. */
export const defaultRights: readonly PlatformRight[] = platformRights.filter(
  (right) => right !== "exports:hold" && right !== "datasets:write",
);

export const permissions = [
  "manage_users",
  "manage_roles",
  "manage_platforms",
  "manage_access_keys",
  "manage_regulatory_frameworks",
  "manage_projects",
  "manage_entities",
  "manage_peers",
  "manage_deliveries",
  "read_audit",
] as const;
export type Permission = (typeof permissions)[number];
