-- The ledger: immutable transfers between a user's account and a system account (a negative number without a row: domain/entry.py).
-- `number` counts within the user's account, `hash` covers the entry and the hash of the one before.
CREATE TABLE entry (
    account_id   bigint NOT NULL,
    number       bigint NOT NULL,
    debit        bigint NOT NULL,
    credit       bigint NOT NULL,
    asset        text   COLLATE "C" NOT NULL,
    amount       bigint NOT NULL CHECK (amount > 0),
    posted_after bigint NOT NULL CHECK (posted_after >= 0),
    kind         text   COLLATE "C" NOT NULL,
    source       text   COLLATE "C" NOT NULL,
    reason       text   NOT NULL,
    at           timestamptz NOT NULL,
    hash         bytea  NOT NULL,
    PRIMARY KEY (account_id, number),
    UNIQUE (kind, source),
    CHECK (account_id > 0 AND (debit = account_id AND credit < 0 OR credit = account_id AND debit < 0))
);

-- For the auditor: what is new since its checkpoint, at no cost per row.
CREATE INDEX entry_at ON entry USING brin (at) WITH (pages_per_range = 32, autosummarize = on);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a ledger entry is never changed or removed' USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER entry_is_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON entry FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

DO $$
BEGIN
    EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON entry FROM %I', current_setting('darkroom.service_role'));
END
$$;
