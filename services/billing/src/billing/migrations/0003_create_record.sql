-- The history people read: one row per change of what is available, so the numbers on screen always add up.
-- `number` counts within the account without gaps, so a page of a history is a range of numbers.
CREATE TABLE record (
    account_id      bigint NOT NULL,
    number          bigint NOT NULL,
    kind            text   COLLATE "C" NOT NULL,
    amount          bigint NOT NULL CHECK (amount <> 0),
    available_after bigint NOT NULL CHECK (available_after >= 0),
    ref_id          uuid,
    description     text,
    at              timestamptz NOT NULL,
    PRIMARY KEY (account_id, number)
);

CREATE INDEX record_at ON record USING brin (at) WITH (pages_per_range = 32, autosummarize = on);
