-- People's names, heard from identity; what a work's creator is shown as.
CREATE TABLE person (
    user_id      uuid PRIMARY KEY,
    name         text NOT NULL,
    avatar_key   text,
    sequence     integer NOT NULL
);

-- What a user uploaded, one row per upload; the bytes lie under `key` in the object store and several rows may share them.
-- file_id is derived from (user, route, idempotency key) where a key was given; body_hash (sha256 of what was sent) tells its repeats apart.
CREATE TABLE file (
    file_id      uuid PRIMARY KEY,
    user_id      uuid NOT NULL,
    key          text NOT NULL,
    content_type text NOT NULL,
    size_bytes   integer NOT NULL,
    width        integer NOT NULL,
    height       integer NOT NULL,
    md5          bytea NOT NULL,
    body_hash    bytea NOT NULL,
    created_at   timestamptz NOT NULL
);
CREATE INDEX file_by_user ON file (user_id, key);

-- A work: made by a task (work_id = task_id) or from a photo by hand (kind 'photo').
-- status: created (a photo without a song) -> completed; processing -> completed | failed | cancelled. Terminal ones never change.
-- task_sequence is the highest sequence heard of its task, version the number of facts told about the work.
-- body: {title, tags, items, description, style, image, scene, engine, lyrics, asked, message}: what makes no index but that of public tags.
CREATE TABLE work (
    work_id       uuid PRIMARY KEY,
    user_id       uuid NOT NULL,
    kind          text NOT NULL,
    status        text NOT NULL,
    task_sequence integer NOT NULL DEFAULT 0,
    version       integer NOT NULL DEFAULT 0,
    is_public     boolean NOT NULL DEFAULT false,
    is_favorite   boolean NOT NULL DEFAULT false,
    body          jsonb NOT NULL,
    body_hash     bytea,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL
);
-- A row is in exactly one of these two: what its owner sees, or what is on its way there (or never came).
CREATE INDEX work_seen ON work (user_id, created_at DESC, work_id DESC) WHERE status IN ('created', 'completed');
CREATE INDEX work_unseen ON work (user_id, status, created_at DESC, work_id DESC) WHERE status IN ('processing', 'failed', 'cancelled');
CREATE INDEX work_public ON work (created_at DESC, work_id DESC) WHERE is_public AND status IN ('created', 'completed');
CREATE INDEX work_public_tags ON work USING gin ((body -> 'tags')) WHERE is_public AND status IN ('created', 'completed');

-- A song that a later task added to a work: one row per task. The work may be unknown yet, topics have no order among each other.
CREATE TABLE song (
    task_id       uuid PRIMARY KEY,
    work_id       uuid NOT NULL,
    user_id       uuid NOT NULL,
    status        text NOT NULL,
    task_sequence integer NOT NULL,
    body          jsonb NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL
);
CREATE INDEX song_by_work ON song (work_id, created_at) WHERE status = 'completed';

-- How many works of a kind a user has; kept with the works in one transaction, so that no list has to count.
-- What is processing is not counted here: it is bounded by the tasks one may have waiting. `public` counts those of created and completed.
-- The user 00000000-0000-0000-0000-000000000000 stands for everybody; only its `public` is kept.
CREATE TABLE shelf (
    user_id      uuid NOT NULL,
    kind         text NOT NULL,
    created      bigint NOT NULL DEFAULT 0,
    completed    bigint NOT NULL DEFAULT 0,
    failed       bigint NOT NULL DEFAULT 0,
    cancelled    bigint NOT NULL DEFAULT 0,
    public       bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, kind)
) WITH (fillfactor = 50);
