-- Changes with credits in them, from when operators ask for them until billing has said yes or no: no credits move that stand nowhere here.
-- Whoever holds the lease asks billing, under the action's id; what nobody holds any more is seen through by upkeep.
CREATE TABLE admin_intent (
    action_id          uuid PRIMARY KEY,
    admin_id           uuid NOT NULL,
    user_id            uuid NOT NULL,
    role               text,
    status             text,
    credits_adjustment integer NOT NULL,
    reason             text NOT NULL,
    body_hash          bytea NOT NULL,
    claim_no           integer NOT NULL,                  -- counts those who asked billing
    leased_until       timestamptz NOT NULL,
    asked_at           timestamptz NOT NULL
);
CREATE INDEX admin_intent_of_user ON admin_intent (user_id);
CREATE INDEX admin_intent_by_lease ON admin_intent (leased_until);

-- What the request said, so that its key is good for nothing else; null in rows of before.
ALTER TABLE admin_action ADD COLUMN body_hash bytea;
