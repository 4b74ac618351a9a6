ALTER TABLE "access_keys" ADD COLUMN "warn_at" timestamp (3) with time zone;--> statement-breakpoint
UPDATE "access_keys" SET "warn_at" = "ends_at" - interval '30 days' WHERE "archived_at" IS NULL AND "ends_at" > now();
