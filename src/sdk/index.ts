/** The SDK of Concordat, for Node and browsers: vault, memberships, trust, sealed projects. */
export { ConcordatError } from "../errors.ts";
export type { Grant, JsonObject } from "../protocol/objects.ts";
export { type Client, type ClientDependencies, ClientError, createClient } from "./client.ts";
export { type InstanceEvent, type WatchOptions, type WatchState, watchEvents, watchEverywhere } from "./events.ts";
export type { MergedList, MissingInstance } from "./listing.ts";
export {
  type InstanceRow,
  type Joined,
  joinInstance,
  leaveInstance,
  listInstances,
  publishKeys,
  selectMembership,
  selectMemberships,
} from "./memberships.ts";
export { describeOwnKeys, type OwnKeys, type OwnKeysView, readOwnKeys } from "./own-keys.ts";
export { type ProjectChange, type ProjectFile, projectChangeSchema, projectFileSchema } from "./project-file.ts";
export { findProject, listProjects, type ProjectFields, type ProjectRow, type ProjectView } from "./project-views.ts";
export {
  declareProject,
  deleteProject,
  type EditedProject,
  editProject,
  type OpenedProject,
  openProject,
  shareProject,
  unshareProject,
} from "./projects.ts";
export { listReceipts, type ReceiptRow } from "./receipts.ts";
export {
  type Credentials,
  createRestClient,
  type LoginAnswer,
  logIn,
  type RestAccess,
  type RestClient,
  type RestDependencies,
  RestError,
  type RestRequest,
  type Token,
} from "./rest.ts";
export type { OpenedObject, SealedBy } from "./sealing.ts";
export {
  confirmFingerprint,
  findRecipient,
  learnKeys,
  type Recipient,
  recallKeys,
  TrustError,
  type TrustedKeys,
} from "./trust.ts";
export {
  createVault,
  type Membership,
  type OpenStore,
  openVault,
  type Pin,
  type Vault,
  VaultError,
  type VaultErrorCode,
  type VaultState,
  type VaultStore,
  vaultExists,
} from "./vault.ts";
