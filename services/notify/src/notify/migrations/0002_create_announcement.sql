-- What operators say to one, some or all. A loop spreads it into the feeds in batches; `spread_to` is the last user who has it.
CREATE TABLE announcement (
    announcement_id uuid PRIMARY KEY,
    title           text NOT NULL,
    content         text NOT NULL,
    data            text NOT NULL,
    user_ids        uuid[],                       -- sorted; null means everybody
    body_hash       bytea NOT NULL,
    said_by         uuid NOT NULL,
    created_at      timestamptz NOT NULL,
    spread_to       uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    reached         integer NOT NULL DEFAULT 0,
    done_at         timestamptz
);
CREATE INDEX announcement_open ON announcement (created_at) WHERE done_at IS NULL;
