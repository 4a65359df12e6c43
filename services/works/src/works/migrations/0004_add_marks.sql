-- How often a work was played and by how many it is liked; kept with the rows below in one transaction.
ALTER TABLE work ADD COLUMN plays bigint NOT NULL DEFAULT 0, ADD COLUMN likes bigint NOT NULL DEFAULT 0;

CREATE TABLE liked (
    work_id  uuid NOT NULL,
    user_id  uuid NOT NULL,
    liked_at timestamptz NOT NULL,
    PRIMARY KEY (work_id, user_id)
);

-- One row per listener and work: when it last counted.
CREATE TABLE played (
    work_id   uuid NOT NULL,
    user_id   uuid NOT NULL,
    played_at timestamptz NOT NULL,
    PRIMARY KEY (work_id, user_id)
);

-- A deleted work stays as an empty row, status 'deleted': what is still on its way about it (a creation heard late) finds that it is older.
CREATE INDEX work_by_age ON work (created_at DESC, work_id DESC) WHERE status <> 'deleted';

-- What operators deleted.
CREATE TABLE admin_action (
    action_id bigserial PRIMARY KEY,
    admin_id  uuid NOT NULL,
    work_id   uuid NOT NULL,
    user_id   uuid NOT NULL,
    action    text NOT NULL,
    acted_at  timestamptz NOT NULL
);
