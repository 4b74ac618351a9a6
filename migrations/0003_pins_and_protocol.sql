ALTER TABLE "objects" ADD COLUMN "protocol" integer DEFAULT 1 NOT NULL;--> statement-breakpoint
ALTER TABLE "peers" ADD COLUMN "held" text;