-- Credits reserved for one task: open -> captured | released | expired, once. Changed only under the lock of its account.
CREATE TABLE hold (
    task_id            uuid     PRIMARY KEY,
    account_id         bigint   NOT NULL,
    placed_at          timestamptz NOT NULL,
    renewed_at         timestamptz NOT NULL,
    expires_at         timestamptz NOT NULL,
    look_at            timestamptz NOT NULL,
    resolved_at        timestamptz,
    price              integer  NOT NULL CHECK (price >= 0),
    items              integer  NOT NULL CHECK (items > 0),
    captured_amount    integer  NOT NULL DEFAULT 0,
    written_off_amount integer  NOT NULL DEFAULT 0,
    extensions         smallint NOT NULL DEFAULT 0,
    state              text     COLLATE "C" NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'captured', 'released', 'expired')),
    body_hash          bytea    NOT NULL,
    -- Which grants it took from, as in account.lots: what is not captured returns there.
    draws              json     NOT NULL,
    CHECK (captured_amount BETWEEN 0 AND price * items),
    CHECK (written_off_amount BETWEEN 0 AND price * items)
);

-- Only open holds, so as many entries as tasks in flight; look_at is when upkeep has a look, whatever the reason.
CREATE INDEX hold_open ON hold (look_at) WHERE state = 'open';

-- What a batch sends to be saved: new holds with the records that show them, captures with their entries, other ends, moved times.
CREATE TYPE hold_placed AS (
    task_id uuid, account_id bigint, price integer, items integer, expires_in_seconds integer, body_hash bytea, draws text,
    record_number bigint, available_after bigint
);
CREATE TYPE hold_captured AS (
    task_id uuid, captured_amount integer, account_id bigint, number bigint, asset text, posted_after bigint, hash bytea
);
CREATE TYPE hold_ended AS (task_id uuid, was text, state text, captured_amount integer, written_off_amount integer);
CREATE TYPE hold_moved AS (task_id uuid, was text, extensions smallint, renewed_at timestamptz, expires_at timestamptz, look_at timestamptz);
