-- A process of the version before keeps `public_tag` but not `own_tag`, and may run beside the new ones for a while. Upkeep walks all works a few times
-- over a day and finds the tags of those that were changed since then again; one row says how far it is, none that there is nothing to do.
-- Clocks differ, and a transaction that was open when the tags were copied is known by when it began: hence the ten minutes.
CREATE TABLE retagging (
    since    timestamptz NOT NULL,
    began_at timestamptz NOT NULL,
    after_id uuid NOT NULL,
    look_at  timestamptz NOT NULL
);
INSERT INTO retagging (since, began_at, after_id, look_at)
    SELECT applied_at - interval '10 minutes', now(), '00000000-0000-0000-0000-000000000000', now() FROM migration
    WHERE room = 'service' AND name = '0006_create_own_tag.sql';
