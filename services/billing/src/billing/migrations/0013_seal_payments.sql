-- What a dump must not show: by which ids payment providers know a payment, and what they say about who paid. A `..._sealed` column opens only with
-- a key that lies elsewhere (common/vault.py). `payment_notice.event_id` and `sandbox_intent.intent_id`, by which rows are found, hold keyed hashes.
-- What was written before is sealed when the service starts (`upkeep.seal_old_rows`); the plain columns are empty from then on.
ALTER TABLE payment_order ADD COLUMN intent_sealed bytea, ADD COLUMN transaction_sealed bytea;
ALTER TABLE payment_notice ADD COLUMN said_sealed bytea, ALTER COLUMN body DROP NOT NULL, ALTER COLUMN headers DROP NOT NULL;
ALTER TABLE payment_alert ADD COLUMN transaction_sealed bytea, ALTER COLUMN transaction_id DROP NOT NULL;
ALTER TABLE sandbox_intent ADD COLUMN intent_sealed bytea, ADD COLUMN transaction_sealed bytea;
