-- The other side of sandbox payments: what a real provider would keep for itself.
CREATE TABLE sandbox_intent (
    intent_id       text COLLATE "C" PRIMARY KEY,
    order_no        text COLLATE "C" NOT NULL UNIQUE,
    description     text NOT NULL,
    amount_minor    bigint NOT NULL,
    currency        text NOT NULL,
    state           text COLLATE "C" NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'paid', 'declined', 'closed', 'refunded')),
    refunds_refused boolean NOT NULL DEFAULT false,
    transaction_id  text,
    refund_id       uuid,
    created_at      timestamptz NOT NULL,
    changed_at      timestamptz NOT NULL
);
