-- What operators changed; defaults are code.
CREATE TABLE config (
    config_key   text PRIMARY KEY,
    config_value jsonb NOT NULL,
    version      integer NOT NULL,
    updated_at   timestamptz NOT NULL,
    updated_by   uuid
);
