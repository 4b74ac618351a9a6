DROP INDEX "deliveries_due";--> statement-breakpoint
ALTER TABLE "peers" ADD COLUMN "batch_inbox" text;--> statement-breakpoint
CREATE INDEX "deliveries_queued" ON "deliveries" USING btree ("peer_id","seq") WHERE "deliveries"."state" = 'queued';