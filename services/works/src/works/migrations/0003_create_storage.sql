-- How much a user keeps in uploads; kept in the transaction that adds or removes a file.
CREATE TABLE storage (
    user_id uuid PRIMARY KEY,
    files   bigint NOT NULL,
    bytes   bigint NOT NULL
) WITH (fillfactor = 50);
INSERT INTO storage (user_id, files, bytes) SELECT user_id, count(*), sum(size_bytes) FROM file GROUP BY user_id;

-- Objects that nothing may name, yet or any more. A key stands here before its bytes are put and until a row names it, and again when the last
-- row is gone, so that whatever dies in between leaves no bytes behind: upkeep looks at `look_at` and removes what is still not named.
CREATE TABLE loose_object (
    key     text COLLATE "C" PRIMARY KEY,
    look_at timestamptz NOT NULL
);
CREATE INDEX loose_object_due ON loose_object (look_at);

-- What may name an upload beside its own row: a work made of it, a person whose picture it is.
CREATE INDEX work_by_image ON work ((body ->> 'image')) WHERE body ? 'image';
CREATE INDEX person_by_avatar ON person (avatar_key) WHERE avatar_key IS NOT NULL;
