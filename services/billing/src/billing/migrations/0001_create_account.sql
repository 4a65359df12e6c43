-- What one user has of one asset. Locked first by every change, it guards its holds and its lots; it is the hot row, so no index
-- names a column that a hold or a capture changes, and half of each page stays free for the next version of its rows.
CREATE TABLE account (
    account_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id       uuid   NOT NULL,
    asset         text   COLLATE "C" NOT NULL CHECK (asset IN ('credit', 'point')),
    posted        bigint NOT NULL DEFAULT 0,
    held          bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
    consumed      bigint NOT NULL DEFAULT 0 CHECK (consumed >= 0),
    version       bigint NOT NULL DEFAULT 0,
    entries       bigint NOT NULL DEFAULT 0,
    records       bigint NOT NULL DEFAULT 0,
    head          bytea  NOT NULL,
    -- What is left of each grant and not held: [[number of its entry, amount, priority, expiry in microseconds or null], ...], in order of use.
    lots          json   NOT NULL DEFAULT '[]',
    next_expiry_us bigint,
    opened_at     timestamptz NOT NULL,
    UNIQUE (user_id, asset),
    CHECK (posted - held >= 0)
) WITH (fillfactor = 50);

CREATE INDEX account_next_expiry ON account (next_expiry_us) WHERE next_expiry_us IS NOT NULL;

-- What a batch sends to be saved. One array of these costs half of ten parallel arrays, on both sides.
CREATE TYPE account_change AS (
    account_id bigint, posted bigint, held bigint, consumed bigint, version bigint, entries bigint, records bigint, head bytea, lots text,
    next_expiry_us bigint
);
