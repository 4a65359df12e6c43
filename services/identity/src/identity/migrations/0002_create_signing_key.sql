-- The keys users' tokens are signed with. The highest number signs, all of them verify; `number` being the key makes replicas agree.
CREATE TABLE signing_key (
    number         integer PRIMARY KEY CHECK (number > 0),
    key_id         uuid NOT NULL UNIQUE,
    private_sealed bytea NOT NULL,
    sealed_with    text NOT NULL,
    created_at     timestamptz NOT NULL
);
