-- The head of each user's feed. Locked sorted, bumped once per batch by as many notices as the user gets.
CREATE TABLE feed (
    user_id  uuid PRIMARY KEY,
    epoch    uuid NOT NULL DEFAULT gen_random_uuid(),  -- changes only when a feed is rebuilt
    seq      bigint NOT NULL CHECK (seq >= 0),
    read_seq bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 70);

-- One row per thing a user is told; seq is gapless per user. The payload is JSON with object keys, never URLs.
CREATE TABLE notice (
    user_id    uuid NOT NULL,
    seq        bigint NOT NULL,
    event_id   uuid NOT NULL,
    type       text NOT NULL,
    payload    text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, seq),
    UNIQUE (user_id, event_id)
);
