-- What a scene said in each of its versions, so that a task's version can still be read after the scene was changed or deleted.
CREATE TABLE scene_version (
    scene_id   text NOT NULL,
    version    integer NOT NULL,
    body       jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (scene_id, version)
);
INSERT INTO scene_version (scene_id, version, body, created_at) SELECT scene_id, version, to_jsonb(scene), created_at FROM scene;

-- A cover that lies elsewhere: a link as it was given. One that was uploaded here is cover_key.
ALTER TABLE scene ADD COLUMN cover_link text;

CREATE TABLE config (
    config_key   text PRIMARY KEY,
    config_value jsonb NOT NULL,
    version      integer NOT NULL,
    updated_at   timestamptz NOT NULL,
    updated_by   uuid
);

-- Everybody's tasks, newest first, for operators.
CREATE INDEX task_by_age ON task (created_at DESC, task_id DESC);
