-- What a dump must not show: by which ids payment providers know a payment, and what they say about who paid. A `..._sealed` column opens only with
-- a key that lies elsewhere (common/vault.py). `payment_notice.event_id` and `sandbox_intent.intent_id`, by which rows are found, hold keyed hashes.
-- What was written before is sealed when the service starts (`upkeep.seal_old_rows`); the plain columns are empty from then on.
ALTER TABLE payment_order ADD COLUMN intent_sealed bytea, ADD COLUMN transaction_sealed bytea;
ALTER TABLE payment_notice ADD COLUMN said_sealed bytea, ALTER COLUMN body DROP NOT NULL, ALTER COLUMN headers DROP NOT NULL;
ALTER TABLE payment_alert ADD COLUMN transaction_sealed bytea, ALTER COLUMN transaction_id DROP NOT NULL;
ALTER TABLE sandbox_intent ADD COLUMN intent_sealed bytea, ADD COLUMN transaction_sealed bytea;

-- What is left to seal: nothing, soon, so that to look costs nothing.
CREATE INDEX payment_order_plain ON payment_order (order_id) WHERE intent_id IS NOT NULL OR transaction_id IS NOT NULL;
CREATE INDEX payment_notice_plain ON payment_notice (provider, event_id) WHERE said_sealed IS NULL;
CREATE INDEX payment_alert_plain ON payment_alert (alert_id) WHERE transaction_id IS NOT NULL;
CREATE INDEX sandbox_intent_plain ON sandbox_intent (intent_id) WHERE intent_sealed IS NULL;
