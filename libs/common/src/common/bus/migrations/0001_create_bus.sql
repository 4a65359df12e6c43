-- Facts not yet told. A row is leased to the process that committed it; the sweep takes rows whose lease ran out.
CREATE TABLE outbox (
    position     bigserial PRIMARY KEY,
    event_id     uuid NOT NULL,
    topic        text NOT NULL,
    key          text NOT NULL,
    headers      text NOT NULL,
    payload      bytea NOT NULL,
    created_at   timestamptz NOT NULL,
    leased_until timestamptz NOT NULL,
    parked_at    timestamptz,
    error        text
);

-- What a transaction hands over per fact; the rest of the row is the same for all facts of a commit.
CREATE TYPE outbox_row AS (event_id uuid, topic text, key text, headers text, payload bytea);

-- Facts already heard, per group.
CREATE TABLE inbox (
    event_id     uuid NOT NULL,
    group_name   text NOT NULL,
    heard_at     timestamptz NOT NULL,
    PRIMARY KEY (event_id, group_name)
);

-- Records that failed for a group: kept with cause and origin so that they can be replayed.
CREATE TABLE dead_letter (
    dead_letter_id bigserial PRIMARY KEY,
    group_name   text NOT NULL,
    topic        text NOT NULL,
    partition    integer NOT NULL,
    record_offset bigint NOT NULL,
    event_id     uuid,
    key          bytea,
    headers      jsonb NOT NULL,
    payload      bytea,
    cause        text NOT NULL,
    tries        integer NOT NULL,
    failed_at    timestamptz NOT NULL,
    replayed_at  timestamptz,
    UNIQUE (group_name, topic, partition, record_offset)
);
