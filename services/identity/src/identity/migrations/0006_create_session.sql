-- Who is logged in where. A session is also the family of its refresh tokens: `number` counts them, the newest may be used.
CREATE TABLE session (
    session_id     uuid PRIMARY KEY,
    user_id        uuid NOT NULL,
    device         text NOT NULL,
    number         bigint NOT NULL DEFAULT 1 CHECK (number > 0),
    revoked_number bigint NOT NULL,
    created_at     timestamptz NOT NULL,
    used_at        timestamptz NOT NULL,
    refreshed_at   timestamptz NOT NULL,
    good_until     timestamptz NOT NULL,
    ended_at       timestamptz
);
CREATE INDEX session_of_user ON session (user_id, created_at) WHERE ended_at IS NULL;
CREATE INDEX session_by_end ON session (good_until);

-- Only hashes: a token is never written down. Used ones stay as long as their session, to be known again when they are used again.
CREATE TABLE refresh_token (
    token_hash  bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    session_id  uuid NOT NULL REFERENCES session ON DELETE CASCADE,
    number      bigint NOT NULL,
    parent_hash bytea,
    issued_at   timestamptz NOT NULL,
    UNIQUE (session_id, number)
);
