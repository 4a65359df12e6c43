-- Under which tags a work's owner finds it, and others among that owner's public ones: asking each of the owner's documents would read all of them.
-- What no list can be asked for (its name is too long) is left out.
CREATE TABLE own_tag (
    work_id    uuid NOT NULL,
    tag        text NOT NULL,
    user_id    uuid NOT NULL,
    is_public  boolean NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (work_id, tag)
);
INSERT INTO own_tag (work_id, tag, user_id, is_public, created_at)
    SELECT DISTINCT work_id, tag, user_id, is_public, created_at FROM work CROSS JOIN LATERAL jsonb_array_elements_text(body -> 'tags') AS tag
    WHERE status IN ('created', 'completed') AND jsonb_typeof(body -> 'tags') = 'array' AND length(tag) <= 50;
CREATE INDEX own_tag_by_age ON own_tag (user_id, tag, created_at DESC, work_id DESC) INCLUDE (is_public);
