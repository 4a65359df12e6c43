-- Whose turn it is: one row per user of whom something waits, pictures and songs apart. `turn_at` is when the turn came, or was taken last, later by the
-- handicap of its rank; the smallest is next. Who claims locks these rows, counts what of their users runs, and takes their oldest tasks. `version` rises
-- with every change, so that a claim that began before the change leaves the turn alone.
CREATE TABLE turn (
    songs   boolean NOT NULL,
    user_id uuid NOT NULL,
    rank    text NOT NULL CHECK (rank IN ('admin', 'member', 'normal')),
    version integer NOT NULL DEFAULT 1,
    turn_at timestamptz NOT NULL,
    PRIMARY KEY (songs, user_id)
) WITH (fillfactor = 80);
CREATE INDEX turn_next ON turn (songs, turn_at);

INSERT INTO turn (songs, user_id, rank, turn_at) SELECT kind = 'song', user_id, 'normal', min(due_at) FROM task WHERE state = 'queued' GROUP BY 1, 2;
