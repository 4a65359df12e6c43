-- What an account owes after a payment was taken back, and what its statistics count. `memberships` numbers the facts about its owner's
-- membership; it counts on the account of points.
ALTER TABLE account
    ADD COLUMN receivable  bigint NOT NULL DEFAULT 0 CHECK (receivable >= 0),
    ADD COLUMN consumes    bigint NOT NULL DEFAULT 0,
    ADD COLUMN recharges   bigint NOT NULL DEFAULT 0,
    ADD COLUMN recharged   bigint NOT NULL DEFAULT 0,
    ADD COLUMN memberships bigint NOT NULL DEFAULT 0;

UPDATE account SET consumes = (SELECT count(*) FROM record WHERE record.account_id = account.account_id AND record.kind = 'consume');

-- A type of its own, so that a process which still runs the version before can go on saving with `account_change`.
CREATE TYPE account_saved AS (
    account_id bigint, posted bigint, held bigint, consumed bigint, version bigint, entries bigint, records bigint, head bytea, lots text,
    next_expiry_us bigint, receivable bigint, consumes bigint, recharges bigint, recharged bigint, memberships bigint
);
