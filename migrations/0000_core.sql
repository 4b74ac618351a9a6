CREATE TABLE "access_keys" (
	"id" uuid PRIMARY KEY NOT NULL,
	"platform_id" uuid NOT NULL,
	"label" text NOT NULL,
	"hash" text NOT NULL,
	"prefix" text NOT NULL,
	"rights" text[],
	"starts_at" timestamp (3) with time zone NOT NULL,
	"ends_at" timestamp (3) with time zone NOT NULL,
	"archived_at" timestamp (3) with time zone,
	"last_used_at" timestamp (3) with time zone,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "access_keys_hash_unique" UNIQUE("hash")
);
--> statement-breakpoint
CREATE TABLE "access" (
	"object_uri" text NOT NULL,
	"platform_uri" text NOT NULL,
	"mode" text NOT NULL,
	"starts_at" timestamp (3) with time zone NOT NULL,
	"expires_at" timestamp (3) with time zone,
	"ended_revision" integer,
	CONSTRAINT "access_object_uri_platform_uri_pk" PRIMARY KEY("object_uri","platform_uri")
);
--> statement-breakpoint
CREATE TABLE "activities" (
	"id" text PRIMARY KEY NOT NULL,
	"type" text NOT NULL,
	"actor" text NOT NULL,
	"object_uri" text,
	"revision" integer,
	"digest" text NOT NULL,
	"body" json,
	"created_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "administrators" (
	"id" uuid PRIMARY KEY NOT NULL,
	"username" text NOT NULL,
	"password_hash" text NOT NULL,
	"firstname" text,
	"lastname" text,
	"email" text,
	"role_id" uuid NOT NULL,
	"last_login" timestamp (3) with time zone,
	"expires_at" timestamp (3) with time zone,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "administrators_username_unique" UNIQUE("username")
);
--> statement-breakpoint
CREATE TABLE "deliveries" (
	"id" uuid PRIMARY KEY NOT NULL,
	"seq" bigserial NOT NULL,
	"activity_id" text NOT NULL,
	"peer_id" uuid NOT NULL,
	"inbox" text NOT NULL,
	"recipients" text[] NOT NULL,
	"state" text NOT NULL,
	"attempts" integer DEFAULT 0 NOT NULL,
	"next_attempt_at" timestamp (3) with time zone NOT NULL,
	"last_error" json,
	"receipt" text,
	"effect" text,
	"created_at" timestamp (3) with time zone NOT NULL,
	"delivered_at" timestamp (3) with time zone,
	CONSTRAINT "deliveries_activity_inbox" UNIQUE("activity_id","inbox")
);
--> statement-breakpoint
CREATE TABLE "entities" (
	"id" uuid PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"entity_type_id" uuid NOT NULL,
	"ror" text,
	"finess" text,
	"city" text,
	"country" text,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "entities_name_unique" UNIQUE("name")
);
--> statement-breakpoint
CREATE TABLE "entity_types" (
	"id" uuid PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "entity_types_name_unique" UNIQUE("name")
);
--> statement-breakpoint
CREATE TABLE "follow_requests" (
	"id" uuid PRIMARY KEY NOT NULL,
	"origin" text NOT NULL,
	"method" text NOT NULL,
	"target" text NOT NULL,
	"headers" json NOT NULL,
	"body" "bytea" NOT NULL,
	"address" text NOT NULL,
	"arrived_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "frameworks" (
	"id" uuid PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"kind" text NOT NULL,
	"description_url" text,
	"reference" text,
	"valid_from" date,
	"valid_until" date,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "frameworks_kind_name" UNIQUE("kind","name")
);
--> statement-breakpoint
CREATE TABLE "idempotency_keys" (
	"caller" text NOT NULL,
	"key" text NOT NULL,
	"request_digest" text NOT NULL,
	"answer" text NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "idempotency_keys_caller_key_pk" PRIMARY KEY("caller","key")
);
--> statement-breakpoint
CREATE TABLE "journal" (
	"id" bigserial PRIMARY KEY NOT NULL,
	"seq" bigint,
	"prev" text,
	"hash" text,
	"digest" text NOT NULL,
	"salt" text,
	"at" timestamp (3) with time zone NOT NULL,
	"actor" text,
	"action" text NOT NULL,
	"object" text,
	"outcome" text NOT NULL,
	"code" text,
	"address" text,
	"data" json,
	"audience" text[] NOT NULL,
	"aggregate" text,
	"count" integer DEFAULT 1 NOT NULL,
	CONSTRAINT "journal_seq_unique" UNIQUE("seq"),
	CONSTRAINT "journal_aggregate_unique" UNIQUE("aggregate")
);
--> statement-breakpoint
CREATE TABLE "key_bundles" (
	"platform_uri" text NOT NULL,
	"seq" bigint NOT NULL,
	"payload_digest" text NOT NULL,
	"identity_kid" text NOT NULL,
	"encryption_kid" text NOT NULL,
	"expires_at" timestamp (3) with time zone NOT NULL,
	"bundle" json NOT NULL,
	"received_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "key_bundles_platform_uri_seq_pk" PRIMARY KEY("platform_uri","seq")
);
--> statement-breakpoint
CREATE TABLE "lanes" (
	"peer_id" uuid PRIMARY KEY NOT NULL,
	"failures" integer DEFAULT 0 NOT NULL,
	"next_attempt_at" timestamp (3) with time zone,
	"last_error" json,
	"locked_by" text,
	"locked_until" timestamp (3) with time zone
);
--> statement-breakpoint
CREATE TABLE "login_failures" (
	"id" bigserial PRIMARY KEY NOT NULL,
	"subject" text NOT NULL,
	"at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "node" (
	"singleton" boolean PRIMARY KEY DEFAULT true NOT NULL,
	"origin" text NOT NULL,
	"rsa_thumbprint" text NOT NULL,
	"ed25519_thumbprint" text NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "objects" (
	"uri" text PRIMARY KEY NOT NULL,
	"id" uuid NOT NULL,
	"type" text NOT NULL,
	"owner_uri" text NOT NULL,
	"local" boolean NOT NULL,
	"revision" integer NOT NULL,
	"digest" text NOT NULL,
	"object" json,
	"owner_object" json,
	"code" text,
	"name" text,
	"status" text,
	"start_date" date,
	"end_date" date,
	"needs_reseal" boolean DEFAULT false NOT NULL,
	"deleted_at" timestamp (3) with time zone,
	"created_at" timestamp (3) with time zone NOT NULL,
	"updated_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "objects_id_unique" UNIQUE("id")
);
--> statement-breakpoint
CREATE TABLE "peers" (
	"id" uuid PRIMARY KEY NOT NULL,
	"origin" text NOT NULL,
	"state" text NOT NULL,
	"name" text,
	"software" text,
	"actor_uri" text,
	"inbox" text,
	"fingerprint" text,
	"keys" json,
	"key_chain_seq" integer DEFAULT 0 NOT NULL,
	"receipts" boolean DEFAULT false NOT NULL,
	"signature_form" text,
	"policy" json NOT NULL,
	"follow_out" text,
	"follow_in" text,
	"requested_at" timestamp (3) with time zone,
	"opened_at" timestamp (3) with time zone,
	"approved_at" timestamp (3) with time zone,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "peers_origin_unique" UNIQUE("origin")
);
--> statement-breakpoint
CREATE TABLE "platforms" (
	"id" uuid PRIMARY KEY NOT NULL,
	"uri" text NOT NULL,
	"handle" text NOT NULL,
	"home_origin" text,
	"name" text NOT NULL,
	"rights" text[] NOT NULL,
	"status" text NOT NULL,
	"membership" text,
	"membership_iat" bigint,
	"created_at" timestamp (3) with time zone NOT NULL,
	"updated_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "platforms_uri_unique" UNIQUE("uri")
);
--> statement-breakpoint
CREATE TABLE "received_activities" (
	"id" text PRIMARY KEY NOT NULL,
	"digest" text NOT NULL,
	"origin" text NOT NULL,
	"actor" text NOT NULL,
	"type" text NOT NULL,
	"object_uri" text,
	"effect" text NOT NULL,
	"receipt" text NOT NULL,
	"received_at" timestamp (3) with time zone NOT NULL,
	"body" json
);
--> statement-breakpoint
CREATE TABLE "roles" (
	"id" uuid PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"permissions" text[] NOT NULL,
	CONSTRAINT "roles_name_unique" UNIQUE("name")
);
--> statement-breakpoint
CREATE TABLE "sessions" (
	"id" uuid PRIMARY KEY NOT NULL,
	"administrator_id" uuid,
	"access_key_id" uuid,
	"created_at" timestamp (3) with time zone NOT NULL,
	"expires_at" timestamp (3) with time zone NOT NULL,
	"ended_at" timestamp (3) with time zone
);
--> statement-breakpoint
ALTER TABLE "access_keys" ADD CONSTRAINT "access_keys_platform_id_platforms_id_fk" FOREIGN KEY ("platform_id") REFERENCES "public"."platforms"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "administrators" ADD CONSTRAINT "administrators_role_id_roles_id_fk" FOREIGN KEY ("role_id") REFERENCES "public"."roles"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "deliveries" ADD CONSTRAINT "deliveries_activity_id_activities_id_fk" FOREIGN KEY ("activity_id") REFERENCES "public"."activities"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "deliveries" ADD CONSTRAINT "deliveries_peer_id_peers_id_fk" FOREIGN KEY ("peer_id") REFERENCES "public"."peers"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "entities" ADD CONSTRAINT "entities_entity_type_id_entity_types_id_fk" FOREIGN KEY ("entity_type_id") REFERENCES "public"."entity_types"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "lanes" ADD CONSTRAINT "lanes_peer_id_peers_id_fk" FOREIGN KEY ("peer_id") REFERENCES "public"."peers"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "sessions" ADD CONSTRAINT "sessions_administrator_id_administrators_id_fk" FOREIGN KEY ("administrator_id") REFERENCES "public"."administrators"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "sessions" ADD CONSTRAINT "sessions_access_key_id_access_keys_id_fk" FOREIGN KEY ("access_key_id") REFERENCES "public"."access_keys"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "access_keys_platform" ON "access_keys" USING btree ("platform_id");--> statement-breakpoint
CREATE INDEX "access_platform" ON "access" USING btree ("platform_uri");--> statement-breakpoint
CREATE INDEX "activities_object" ON "activities" USING btree ("object_uri");--> statement-breakpoint
CREATE INDEX "deliveries_due" ON "deliveries" USING btree ("peer_id","next_attempt_at","seq") WHERE "deliveries"."state" = 'queued';--> statement-breakpoint
CREATE INDEX "deliveries_seq" ON "deliveries" USING btree ("seq");--> statement-breakpoint
CREATE INDEX "follow_requests_origin" ON "follow_requests" USING btree ("origin","arrived_at");--> statement-breakpoint
CREATE INDEX "idempotency_keys_created" ON "idempotency_keys" USING btree ("created_at");--> statement-breakpoint
CREATE INDEX "journal_unnumbered" ON "journal" USING btree ("id") WHERE "journal"."seq" is null;--> statement-breakpoint
CREATE INDEX "journal_at" ON "journal" USING btree ("at");--> statement-breakpoint
CREATE INDEX "key_bundles_encryption" ON "key_bundles" USING btree ("platform_uri","encryption_kid");--> statement-breakpoint
CREATE INDEX "login_failures_subject" ON "login_failures" USING btree ("subject","at");--> statement-breakpoint
CREATE UNIQUE INDEX "objects_owner_code" ON "objects" USING btree ("owner_uri","code") WHERE "objects"."local" and "objects"."deleted_at" is null;--> statement-breakpoint
CREATE INDEX "objects_type_created" ON "objects" USING btree ("type","created_at","id");--> statement-breakpoint
CREATE UNIQUE INDEX "platforms_local_handle" ON "platforms" USING btree ("handle") WHERE "platforms"."home_origin" is null;--> statement-breakpoint
CREATE INDEX "platforms_home" ON "platforms" USING btree ("home_origin");--> statement-breakpoint
CREATE INDEX "received_activities_at" ON "received_activities" USING btree ("received_at");--> statement-breakpoint
CREATE INDEX "sessions_expires" ON "sessions" USING btree ("expires_at");--> statement-breakpoint
ALTER TABLE "objects" ALTER COLUMN "object" SET STORAGE EXTERNAL;--> statement-breakpoint
ALTER TABLE "objects" ALTER COLUMN "owner_object" SET STORAGE EXTERNAL;--> statement-breakpoint
ALTER TABLE "activities" ALTER COLUMN "body" SET STORAGE EXTERNAL;--> statement-breakpoint
ALTER TABLE "received_activities" ALTER COLUMN "body" SET STORAGE EXTERNAL;--> statement-breakpoint
ALTER TABLE "key_bundles" ALTER COLUMN "bundle" SET STORAGE EXTERNAL;--> statement-breakpoint
ALTER TABLE "follow_requests" ALTER COLUMN "body" SET STORAGE EXTERNAL;
