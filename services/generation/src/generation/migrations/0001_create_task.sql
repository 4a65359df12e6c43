-- What was asked for. The row is the queue: `due_at` says when a worker may claim it, which is at once when it is new,
-- when the lease of the worker that has it runs out, or when the back-off before the next attempt is over.
-- No foreign keys between these tables: every change happens under the task's row lock, and a check per row would cost more than the row.
CREATE TABLE task (
    task_id     uuid NOT NULL PRIMARY KEY,
    user_id     uuid NOT NULL,
    work_id     uuid NOT NULL,
    created_at  timestamptz NOT NULL,
    due_at      timestamptz NOT NULL,
    start_by    timestamptz NOT NULL,
    deadline_at timestamptz NOT NULL,
    started_at  timestamptz,
    ended_at    timestamptz,
    version     integer NOT NULL DEFAULT 1,
    claim_no    integer NOT NULL DEFAULT 0,
    price       integer NOT NULL CHECK (price >= 0),
    asked       smallint NOT NULL CHECK (asked BETWEEN 1 AND 50),
    delivered   smallint NOT NULL DEFAULT 0 CHECK (delivered BETWEEN 0 AND asked),
    kind        text NOT NULL CHECK (kind IN ('fitting', 'photography', 'travel', 'song')),
    state       text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    scene_id    text,
    trace       text,
    body_hash   bytea NOT NULL,
    brief       jsonb NOT NULL,
    outcome     jsonb,
    CHECK ((state IN ('completed', 'failed', 'cancelled')) = (ended_at IS NOT NULL))
) WITH (fillfactor = 80);

-- Everything that has not ended, in the order it may be claimed; pictures and songs have workers of their own.
CREATE INDEX task_due ON task ((kind = 'song'), due_at) WHERE ended_at IS NULL;
-- Who has how much waiting. A task that begins at once never enters it.
CREATE INDEX task_waiting ON task (user_id) WHERE state = 'queued';
-- One owner's tasks, newest first.
CREATE INDEX task_owner ON task (user_id, created_at);

-- What became of one picture or song of a task. Written when there is something to say: an item without a row is waiting,
-- or running while an attempt at it is open.
CREATE TABLE item (
    task_id          uuid NOT NULL,
    index            smallint NOT NULL CHECK (index BETWEEN 0 AND 49),
    width            smallint,
    height           smallint,
    size_bytes       integer,
    duration_seconds double precision,
    state            text NOT NULL CHECK (state IN ('delivered', 'failed')),
    key              text,
    content_type     text,
    cover_key        text,
    failure          text,
    PRIMARY KEY (task_id, index),
    CHECK ((state = 'delivered') = (key IS NOT NULL))
);

-- One paid submission: of one item, or (item_index null) of all items that had not arrived. Written before the provider is called.
CREATE TABLE attempt (
    task_id     uuid NOT NULL,
    attempt_no  smallint NOT NULL,
    item_index  smallint,
    claim_no    integer NOT NULL,
    created_at  timestamptz NOT NULL,
    ended_at    timestamptz,
    state       text NOT NULL DEFAULT 'submitting' CHECK (state IN ('submitting', 'submitted', 'succeeded', 'failed', 'unknown')),
    provider    text NOT NULL,
    provider_id text,
    note        text,
    PRIMARY KEY (task_id, attempt_no)
) WITH (fillfactor = 80);

-- Every change of a task's state, version by version; version 1 is the task's creation and needs no row.
CREATE TABLE history (
    task_id    uuid NOT NULL,
    version    integer NOT NULL,
    at         timestamptz NOT NULL,
    from_state text NOT NULL,
    to_state   text NOT NULL,
    reason     text,
    PRIMARY KEY (task_id, version)
);

DO $$
BEGIN
    EXECUTE format('REVOKE UPDATE, DELETE ON history FROM %I', current_setting('darkroom.service_role'));
END
$$;

-- How many tasks ended how, for the queue's statistics: appended per batch, so that no two batches wait for one row, and folded by upkeep.
CREATE TABLE tally (
    tally_id bigserial PRIMARY KEY,
    kind     text NOT NULL,
    state    text NOT NULL,
    amount   bigint NOT NULL
);
