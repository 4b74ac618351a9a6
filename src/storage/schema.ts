/**
 * The tables, once for PGlite and PostgreSQL 15 and later. The database is the truth: lanes, deliveries, attempts and
 * times are rows, and so is everything that security rests on (pins, processed activity ids, sessions, failed logins).
 *
 * Federated things are named by their URI; `id` is a UUID version 7 of this node, for the REST API.
 */
import { isNotNull, sql } from "drizzle-orm";
import {
  bigint,
  bigserial,
  boolean,
  customType,
  date,
  index,
  integer,
  json,
  pgTable,
  primaryKey,
  text,
  timestamp,
  unique,
  uniqueIndex,
  uuid,
} from "drizzle-orm/pg-core";

/** Milliseconds, as JavaScript's Date has them: a cursor made of a Date must find its row again. */
const instant = (name: string) => timestamp(name, { precision: 3, withTimezone: true });

const bytes = customType<{ data: Uint8Array; driverData: Uint8Array }>({ dataType: () => "bytea" });

/**
 * JSON as it came: member order and number forms stay (jsonb would rewrite both). The migration stores the large ones
 * uncompressed: ciphertext does not compress, and whoever searches the files for a leak finds it.
 */
const snapshot = <T>(name: string) => json(name).$type<T>();

type JsonObject = Record<string, unknown>;

/** One row: who this node is. Another origin or other keys refuse to start. */
export const nodes = pgTable("node", {
  singleton: boolean("singleton").primaryKey().default(true),
  origin: text("origin").notNull(),
  rsaThumbprint: text("rsa_thumbprint").notNull(),
  ed25519Thumbprint: text("ed25519_thumbprint").notNull(),
  createdAt: instant("created_at").notNull(),
});

// ---- administrators, roles, sessions ---------------------------------------------------------------------------------

export const roles = pgTable("roles", {
  id: uuid("id").primaryKey(),
  name: text("name").notNull().unique(),
  permissions: text("permissions").array().notNull(),
});

export const administrators = pgTable("administrators", {
  id: uuid("id").primaryKey(),
  username: text("username").notNull().unique(),
  passwordHash: text("password_hash").notNull(),
  firstname: text("firstname"),
  lastname: text("lastname"),
  email: text("email"),
  roleId: uuid("role_id")
    .notNull()
    .references(() => roles.id),
  lastLogin: instant("last_login"),
  expiresAt: instant("expires_at"),
  createdAt: instant("created_at").notNull(),
});

/** A row per access token: what ends the row ends the token, at the next request. */
export const sessions = pgTable(
  "sessions",
  {
    id: uuid("id").primaryKey(),
    administratorId: uuid("administrator_id").references(() => administrators.id),
    accessKeyId: uuid("access_key_id").references(() => accessKeys.id),
    createdAt: instant("created_at").notNull(),
    expiresAt: instant("expires_at").notNull(),
    endedAt: instant("ended_at"),
  },
  (t) => [index("sessions_expires").on(t.expiresAt)],
);

/** Failed logins by subject (`account:` and the name hidden, `address:…`). */
export const loginFailures = pgTable(
  "login_failures",
  {
    id: bigserial("id", { mode: "number" }).primaryKey(),
    subject: text("subject").notNull(),
    at: instant("at").notNull(),
  },
  (t) => [index("login_failures_subject").on(t.subject, t.at)],
);

// ---- platforms and their keys ----------------------------------------------------------------------------------------

export type PlatformStatus = "active" | "suspended" | "removed";

/** Platforms of this node (`homeOrigin` null) and those that peers told of. */
export const platforms = pgTable(
  "platforms",
  {
    id: uuid("id").primaryKey(),
    uri: text("uri").notNull().unique(),
    handle: text("handle").notNull(),
    homeOrigin: text("home_origin"),
    name: text("name").notNull(),
    rights: text("rights").array().notNull(),
    /** A removed one keeps its row: its handle is never given out again. */
    status: text("status").$type<PlatformStatus>().notNull(),
    /** Newest membership (compact JWS) and its `iat`. */
    membership: text("membership"),
    membershipIat: bigint("membership_iat", { mode: "number" }),
    createdAt: instant("created_at").notNull(),
    updatedAt: instant("updated_at").notNull(),
  },
  (t) => [
    uniqueIndex("platforms_local_handle").on(t.handle).where(sql`${t.homeOrigin} is null`),
    index("platforms_home").on(t.homeOrigin),
  ],
);

/** Opaque keys with which a platform logs in. Only a hash is stored: they are random enough for a plain SHA-256. */
export const accessKeys = pgTable(
  "access_keys",
  {
    id: uuid("id").primaryKey(),
    platformId: uuid("platform_id")
      .notNull()
      .references(() => platforms.id),
    label: text("label").notNull(),
    hash: text("hash").notNull().unique(),
    prefix: text("prefix").notNull(),
    /** A subset of the platform's rights; null means all of them. */
    rights: text("rights").array(),
    startsAt: instant("starts_at").notNull(),
    endsAt: instant("ends_at").notNull(),
    archivedAt: instant("archived_at"),
    lastUsedAt: instant("last_used_at"),
    warnAt: instant("warn_at"),
    createdAt: instant("created_at").notNull(),
  },
  (t) => [index("access_keys_platform").on(t.platformId)],
);

/** Every accepted key bundle of every platform, own or foreign. */
export const keyBundles = pgTable(
  "key_bundles",
  {
    platformUri: text("platform_uri").notNull(),
    seq: bigint("seq", { mode: "number" }).notNull(),
    /** base64url SHA-256 of the payload octets. */
    payloadDigest: text("payload_digest").notNull(),
    identityKid: text("identity_kid").notNull(),
    encryptionKid: text("encryption_kid").notNull(),
    expiresAt: instant("expires_at").notNull(),
    bundle: snapshot<JsonObject>("bundle").notNull(),
    receivedAt: instant("received_at").notNull(),
  },
  (t) => [
    primaryKey({ columns: [t.platformUri, t.seq] }),
    index("key_bundles_encryption").on(t.platformUri, t.encryptionKid),
  ],
);

// ---- registry --------------------------------------------------------------------------------------------------------

export const entityTypes = pgTable("entity_types", {
  id: uuid("id").primaryKey(),
  name: text("name").notNull().unique(),
  createdAt: instant("created_at").notNull(),
});

export const entities = pgTable("entities", {
  id: uuid("id").primaryKey(),
  name: text("name").notNull().unique(),
  entityTypeId: uuid("entity_type_id")
    .notNull()
    .references(() => entityTypes.id),
  ror: text("ror"),
  finess: text("finess"),
  city: text("city"),
  country: text("country"),
  createdAt: instant("created_at").notNull(),
});

export const frameworks = pgTable(
  "frameworks",
  {
    id: uuid("id").primaryKey(),
    name: text("name").notNull(),
    kind: text("kind").notNull(),
    descriptionUrl: text("description_url"),
    reference: text("reference"),
    validFrom: date("valid_from", { mode: "string" }),
    validUntil: date("valid_until", { mode: "string" }),
    createdAt: instant("created_at").notNull(),
  },
  (t) => [unique("frameworks_kind_name").on(t.kind, t.name)],
);

/** A row per federated object, own or foreign: its newest snapshot as received, and what lists are made of. */
export const objects = pgTable(
  "objects",
  {
    uri: text("uri").primaryKey(),
    /** Local key; for an own object the UUID of its URI. */
    id: uuid("id").notNull().unique(),
    type: text("type").notNull(),
    ownerUri: text("owner_uri").notNull(),
    /** Is this node the object's home, and so its sequencer? */
    local: boolean("local").notNull(),
    revision: integer("revision").notNull(),
    digest: text("digest").notNull(),
    /** The newest protocol of which it holds members. */
    protocol: integer("protocol").notNull().default(1),
    /** Null once no platform of this node may read it, or it was deleted. */
    object: snapshot<JsonObject>("object"),
    /** The newest snapshot sealed by the owner, where the newest of all is a grantee's edit. */
    ownerObject: snapshot<JsonObject>("owner_object"),
    code: text("code"),
    name: text("name"),
    status: text("status"),
    startDate: date("start_date", { mode: "string" }),
    endDate: date("end_date", { mode: "string" }),
    deletedAt: instant("deleted_at"),
    createdAt: instant("created_at").notNull(),
    updatedAt: instant("updated_at").notNull(),
  },
  (t) => [
    uniqueIndex("objects_owner_code").on(t.ownerUri, t.code).where(sql`${t.local} and ${t.deletedAt} is null`),
    index("objects_type_created").on(t.type, t.createdAt, t.id),
  ],
);

/** Who may read an object. Lists are queries on these rows; platforms of one node share by them. */
export const accessRows = pgTable(
  "access",
  {
    objectUri: text("object_uri").notNull(),
    platformUri: text("platform_uri").notNull(),
    mode: text("mode").$type<"owner" | "editable" | "readonly">().notNull(),
    startsAt: instant("starts_at").notNull(),
    expiresAt: instant("expires_at"),
    /** The first revision without this platform; a higher one that grants again clears it. */
    endedRevision: integer("ended_revision"),
  },
  (t) => [primaryKey({ columns: [t.objectUri, t.platformUri] }), index("access_platform").on(t.platformUri)],
);

// ---- peers -----------------------------------------------------------------------------------------------------------

export type PeerState = "pending_out" | "pending_in" | "approved" | "rejected" | "suspended" | "revoked";

/** How a peer is signed to: RFC 9421 with Ed25519 or with RSA, or draft-cavage with RSA. */
export type DeliveryForm = "rfc9421" | "rfc9421-rsa" | "draft-cavage";

/** A pinned key of a peer: `id` is the fragment of its keyid (`#main-key`), so that it serves every actor there. */
export interface PinnedKey {
  readonly id: string;
  readonly publicKeyPem?: string;
  readonly publicKeyMultibase?: string;
  /** Instant after which a rotated key is no longer accepted. */
  readonly until?: string;
}

export interface PeerPolicy {
  readonly platforms: "all" | readonly string[];
  readonly activities: "all" | readonly string[];
  readonly per_minute: number | null;
  readonly per_day: number | null;
}

export const peers = pgTable("peers", {
  id: uuid("id").primaryKey(),
  origin: text("origin").notNull().unique(),
  state: text("state").$type<PeerState>().notNull(),
  name: text("name"),
  software: text("software"),
  actorUri: text("actor_uri"),
  inbox: text("inbox"),
  /** Where it takes several activities in one request; null where it takes none. */
  batchInbox: text("batch_inbox"),
  fingerprint: text("fingerprint"),
  /** Why its new keys count only once an administrator approves them; it is suspended until then. */
  held: text("held"),
  keys: snapshot<readonly PinnedKey[]>("keys"),
  keyChainSeq: integer("key_chain_seq").notNull().default(0),
  /** Does the peer sign receipts? Then a 2xx without a valid one is no delivery. */
  receipts: boolean("receipts").notNull().default(false),
  signatureForm: text("signature_form").$type<DeliveryForm>(),
  policy: snapshot<PeerPolicy>("policy").notNull(),
  /** Our Follow of the peer, and the peer's of us: activity ids. */
  followOut: text("follow_out"),
  followIn: text("follow_in"),
  requestedAt: instant("requested_at"),
  openedAt: instant("opened_at"),
  approvedAt: instant("approved_at"),
  createdAt: instant("created_at").notNull(),
});

/** Follows of strangers as they arrived, to be judged when the administrator opens them. */
export const followRequests = pgTable(
  "follow_requests",
  {
    id: uuid("id").primaryKey(),
    origin: text("origin").notNull(),
    method: text("method").notNull(),
    target: text("target").notNull(),
    headers: snapshot<readonly (readonly [string, string])[]>("headers").notNull(),
    body: bytes("body").notNull(),
    address: text("address").notNull(),
    /** Hash of the invitation's token that the Follow carries. */
    invitationHash: text("invitation_hash"),
    arrivedAt: instant("arrived_at").notNull(),
  },
  (t) => [index("follow_requests_origin").on(t.origin, t.arrivedAt)],
);

/** Invitations to become a peer; of the token only a hash is kept, and one use burns it. */
export const invitations = pgTable("invitations", {
  id: uuid("id").primaryKey(),
  tokenHash: text("token_hash").notNull().unique(),
  /** The only origin that may use it. */
  forOrigin: text("for_origin"),
  expiresAt: instant("expires_at").notNull(),
  usedBy: text("used_by"),
  usedAt: instant("used_at"),
  createdAt: instant("created_at").notNull(),
});

// ---- inbox and outbox ------------------------------------------------------------------------------------------------

/** Every activity that was accepted, for ever: the id is the key, the receipt stands in its row. */
export const receivedActivities = pgTable(
  "received_activities",
  {
    id: text("id").primaryKey(),
    digest: text("digest").notNull(),
    origin: text("origin").notNull(),
    actor: text("actor").notNull(),
    type: text("type").notNull(),
    objectUri: text("object_uri"),
    /** Platforms of this node for which it came; empty for what is between the nodes. */
    recipients: text("recipients").array().notNull().default(sql`'{}'`),
    effect: text("effect").$type<"applied" | "stale" | "stored" | "unhandled">().notNull(),
    receipt: text("receipt").notNull(),
    receivedAt: instant("received_at").notNull(),
    /** Gone after the retention; id, digest and receipt stay. */
    body: snapshot<JsonObject>("body"),
  },
  (t) => [
    index("received_activities_at").on(t.receivedAt),
    index("received_activities_old").on(t.receivedAt).where(isNotNull(t.body)),
    index("received_activities_for").using("gin", t.recipients),
  ],
);

/** Activities of this node. */
export const activities = pgTable(
  "activities",
  {
    id: text("id").primaryKey(),
    type: text("type").notNull(),
    actor: text("actor").notNull(),
    objectUri: text("object_uri"),
    revision: integer("revision"),
    digest: text("digest").notNull(),
    body: snapshot<JsonObject>("body"),
    createdAt: instant("created_at").notNull(),
  },
  (t) => [index("activities_object").on(t.objectUri), index("activities_old").on(t.createdAt).where(isNotNull(t.body))],
);

export type DeliveryState = "queued" | "delivered" | "dead" | "discarded" | "cancelled";

export interface DeliveryError {
  readonly status: number | null;
  readonly code: string;
  readonly at: string;
}

/** One activity to one inbox of one peer. `seq` is the order in which a lane sends. */
export const deliveries = pgTable(
  "deliveries",
  {
    id: uuid("id").primaryKey(),
    seq: bigserial("seq", { mode: "number" }).notNull(),
    activityId: text("activity_id")
      .notNull()
      .references(() => activities.id),
    peerId: uuid("peer_id")
      .notNull()
      .references(() => peers.id),
    inbox: text("inbox").notNull(),
    /** Platforms at the peer for whom this is; empty for what is between the nodes. */
    recipients: text("recipients").array().notNull(),
    state: text("state").$type<DeliveryState>().notNull(),
    attempts: integer("attempts").notNull().default(0),
    nextAttemptAt: instant("next_attempt_at").notNull(),
    lastError: snapshot<DeliveryError>("last_error"),
    /** The peer's signed receipt. */
    receipt: text("receipt"),
    effect: text("effect"),
    createdAt: instant("created_at").notNull(),
    deliveredAt: instant("delivered_at"),
  },
  (t) => [
    unique("deliveries_activity_inbox").on(t.activityId, t.inbox),
    index("deliveries_queued").on(t.peerId, t.seq).where(sql`${t.state} = 'queued'`),
    index("deliveries_dead").on(t.peerId).where(sql`${t.state} = 'dead'`),
    index("deliveries_seq").on(t.seq),
  ],
);

/** The way to one peer: its back-off, and who drains it now. */
export const lanes = pgTable("lanes", {
  peerId: uuid("peer_id")
    .primaryKey()
    .references(() => peers.id),
  /** Failures in a row that spoke of the peer, not of an activity. */
  failures: integer("failures").notNull().default(0),
  nextAttemptAt: instant("next_attempt_at"),
  lastError: snapshot<DeliveryError>("last_error"),
  /** Who drains the lane, and until when that holds without renewal. */
  lockedBy: text("locked_by"),
  lockedUntil: instant("locked_until"),
});

// ---- journal ---------------------------------------------------------------------------------------------------------

/**
 * What happened, in one place: audit and events are views of it. Rows are inserted without a number; the sequencer
 * gives committed ones `seq`, `prev` and `hash`. `digest` is SHA-256 over `salt` and the content, so that a row's
 * content can be erased (with its salt) and the chain still verifies. `count` grows and is outside the digest.
 */
export const journal = pgTable(
  "journal",
  {
    id: bigserial("id", { mode: "number" }).primaryKey(),
    seq: bigint("seq", { mode: "number" }).unique(),
    prev: text("prev"),
    hash: text("hash"),
    digest: text("digest").notNull(),
    salt: text("salt"),
    at: instant("at").notNull(),
    actor: text("actor"),
    action: text("action").notNull(),
    object: text("object"),
    outcome: text("outcome").$type<"ok" | "refused">().notNull(),
    code: text("code"),
    address: text("address"),
    /** For events: revision and what else the event says. */
    data: snapshot<JsonObject>("data"),
    /** Local platforms (URIs) to which this is an event; `administrator` for the administrators. */
    audience: text("audience").array().notNull(),
    /** Strangers' refusals of one minute share a row under this key. */
    aggregate: text("aggregate").unique(),
    count: integer("count").notNull().default(1),
  },
  (t) => [
    index("journal_unnumbered").on(t.id).where(sql`${t.seq} is null`),
    index("journal_at").on(t.at),
    index("journal_events").on(t.seq).where(sql`${t.audience} <> '{}'`),
  ],
);

/** Requests that carried an Idempotency-Key; what they gave is encrypted under the key, of which this is the hash. */
export const idempotencyKeys = pgTable(
  "idempotency_keys",
  {
    caller: text("caller").notNull(),
    key: text("key").notNull(),
    requestDigest: text("request_digest").notNull(),
    answer: text("answer").notNull(),
    createdAt: instant("created_at").notNull(),
  },
  (t) => [primaryKey({ columns: [t.caller, t.key] }), index("idempotency_keys_created").on(t.createdAt)],
);
