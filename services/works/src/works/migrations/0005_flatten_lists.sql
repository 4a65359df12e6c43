-- How often its owner changed a work: what `If-Match` compares. `version` also counts plays and likes, which are nobody's reason to refuse a change.
ALTER TABLE work ADD COLUMN edition integer NOT NULL DEFAULT 1;

-- Lists walk an index alone and look at the rows of their page only, so these say all that a list filters by.
DROP INDEX work_seen;
DROP INDEX work_unseen;
CREATE INDEX work_seen ON work (user_id, created_at DESC, work_id DESC) INCLUDE (kind, status, is_public, is_favorite)
    WHERE status IN ('created', 'completed');
CREATE INDEX work_unseen ON work (user_id, status, created_at DESC, work_id DESC) INCLUDE (kind) WHERE status IN ('processing', 'failed', 'cancelled');
CREATE INDEX work_public_of_kind ON work (kind, created_at DESC, work_id DESC) INCLUDE (status) WHERE is_public AND status IN ('created', 'completed');
-- Operators' lists of everybody's works, what is processing, what came today.
DROP INDEX work_by_age;
CREATE INDEX work_of_kind ON work (kind, status, created_at DESC, work_id DESC) WHERE status <> 'deleted';

-- The tags of public works: an inverted index on the document finds them too, but has to sort all of them for the newest.
DROP INDEX work_public_tags;
CREATE TABLE public_tag (
    work_id    uuid NOT NULL,
    tag        text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (work_id, tag)
);
CREATE INDEX public_tag_by_age ON public_tag (tag, created_at DESC, work_id DESC);
INSERT INTO public_tag (work_id, tag, created_at)
    SELECT DISTINCT work_id, tag, created_at FROM work CROSS JOIN LATERAL jsonb_array_elements_text(body -> 'tags') AS tag
    WHERE is_public AND status IN ('created', 'completed') AND jsonb_typeof(body -> 'tags') = 'array';

-- How many works of a kind there are in all, as on a shelf. Each is kept in several rows, one per connection more or less, so that writers
-- do not wait for each other; their sum is the number.
CREATE TABLE tally (
    stripe       smallint NOT NULL,
    kind         text NOT NULL,
    created      bigint NOT NULL DEFAULT 0,
    completed    bigint NOT NULL DEFAULT 0,
    failed       bigint NOT NULL DEFAULT 0,
    cancelled    bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (stripe, kind)
) WITH (fillfactor = 50);
INSERT INTO tally (stripe, kind, created, completed, failed, cancelled)
    SELECT 0, kind, sum(created), sum(completed), sum(failed), sum(cancelled) FROM shelf
    WHERE user_id <> '00000000-0000-0000-0000-000000000000' GROUP BY kind;

-- A photo whose song is being made is not deleted.
CREATE INDEX song_running ON song (work_id) WHERE status = 'processing';
-- Upkeep forgets plays that count again.
CREATE INDEX played_by_age ON played (played_at);

ALTER TABLE admin_action ADD COLUMN before jsonb, ADD COLUMN after jsonb, ADD COLUMN reason text NOT NULL DEFAULT '';
DO $$ BEGIN
    EXECUTE format('REVOKE UPDATE, DELETE ON admin_action FROM %I', current_setting('darkroom.service_role'));
END $$;
