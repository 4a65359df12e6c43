-- Which tokens ended before their time. Numbers are given out under one locked row, so whoever reads "after N" misses nothing.
CREATE TABLE revocation_head (
    one    boolean PRIMARY KEY CHECK (one),
    number bigint NOT NULL CHECK (number > 0)
);

-- Without a session id it means every token of the user that was signed before, whose own number is lower.
CREATE TABLE revocation (
    number     bigint PRIMARY KEY,
    user_id    uuid NOT NULL,
    session_id uuid,
    reason     text NOT NULL CHECK (reason IN ('logout', 'changed', 'disabled', 'password', 'reuse')),
    revoked_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX revocation_by_expiry ON revocation (expires_at);

ALTER TABLE person ADD COLUMN revoked_number bigint NOT NULL DEFAULT 0;
