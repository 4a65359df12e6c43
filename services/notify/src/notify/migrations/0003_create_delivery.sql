-- Messages asked for: one row each, sent by whichever replica leases it. No address and no link is ever stored.
CREATE TABLE delivery (
    delivery_id  uuid PRIMARY KEY,                -- the event that asked for it
    user_id      uuid NOT NULL,
    template     text NOT NULL,
    ref          text NOT NULL,
    state        text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'failed')),
    tries        integer NOT NULL DEFAULT 0,
    due_at       timestamptz NOT NULL,            -- while it is being sent: when the lease of the sender ends
    error        text,
    created_at   timestamptz NOT NULL,
    ended_at     timestamptz
);
CREATE INDEX delivery_due ON delivery (due_at) WHERE state = 'waiting';
CREATE INDEX delivery_of_user ON delivery (user_id, created_at);
