-- What was built beside the old key takes its place.
ALTER TABLE record DROP CONSTRAINT record_pkey, ADD CONSTRAINT record_pkey PRIMARY KEY USING INDEX record_page;

-- How many orders are in a state, without counting them: those cancelled are kept here (one that is paid after all is taken off again), those
-- that wait are few, and of the others nothing is left but to have expired.
ALTER TABLE order_day ADD COLUMN cancelled bigint NOT NULL DEFAULT 0;
INSERT INTO order_day (day, currency, cancelled)
    SELECT (ended_at AT TIME ZONE 'UTC')::date, currency, count(*) FROM payment_order WHERE state = 'cancelled' AND ended_at IS NOT NULL GROUP BY 1, 2
    ON CONFLICT (day, currency) DO UPDATE SET cancelled = excluded.cancelled;
