-- What proves that a call back belongs to an attempt: the hash of a token only its provider was given.
ALTER TABLE attempt ADD COLUMN token_hash bytea;

-- Every authenticated call back, as it came. `taken`: the first of an attempt that was still awaited; `repeated`: another one of that attempt;
-- `late`: the attempt or its task had ended. The body is what a worker applies; it is forgotten some days later, its hash is not.
CREATE TABLE callback (
    callback_id bigserial PRIMARY KEY,
    task_id     uuid NOT NULL,
    attempt_no  smallint NOT NULL,
    received_at timestamptz NOT NULL,
    says        text NOT NULL CHECK (says IN ('complete', 'failed')),
    state       text NOT NULL CHECK (state IN ('taken', 'repeated', 'late')),
    size_bytes  integer NOT NULL,
    body_sha256 bytea NOT NULL,
    body        bytea,
    UNIQUE (task_id, attempt_no, body_sha256)
);

CREATE UNIQUE INDEX callback_taken ON callback (task_id, attempt_no) WHERE state = 'taken';
CREATE INDEX callback_kept ON callback (received_at) WHERE body IS NOT NULL;
