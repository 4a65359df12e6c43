-- Who has an account. What proves it and where they are reached is kept apart, so that most readers never touch it.
CREATE TABLE person (
    user_id           uuid PRIMARY KEY,
    username          text NOT NULL CHECK (length(username) BETWEEN 1 AND 64),
    avatar_key        text,
    role              text NOT NULL DEFAULT 'user' CHECK (role IN ('user', 'admin')),
    disabled_at       timestamptz,
    email_verified_at timestamptz,
    version           bigint NOT NULL CHECK (version > 0),
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL
);

-- email_hash finds the row (keyed hash), email_sealed gives the address back to who has the key named by sealed_with.
-- request_hash is the keyed hash of the sign-up that made the row, kept only when it came with an idempotency key.
CREATE TABLE credential (
    user_id       uuid PRIMARY KEY REFERENCES person DEFERRABLE INITIALLY DEFERRED,
    email_hash    bytea NOT NULL UNIQUE,
    email_sealed  bytea NOT NULL,
    sealed_with   text NOT NULL,
    password_hash text NOT NULL,
    request_hash  bytea,
    changed_at    timestamptz NOT NULL
);
