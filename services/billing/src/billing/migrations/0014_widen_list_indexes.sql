-- Each statement alone: both tables are written to all the time.
-- A page of a list is found in one index alone, however deep, and only its own rows are read; so the indexes say all that lists filter by.
DROP INDEX CONCURRENTLY IF EXISTS record_page;
CREATE UNIQUE INDEX CONCURRENTLY record_page ON record (account_id, number) INCLUDE (kind, at);
DROP INDEX CONCURRENTLY IF EXISTS payment_order_owner;
CREATE INDEX CONCURRENTLY payment_order_owner ON payment_order (user_id, created_at DESC, order_id DESC) INCLUDE (state);
DROP INDEX CONCURRENTLY IF EXISTS payment_order_user;
