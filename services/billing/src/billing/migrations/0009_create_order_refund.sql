-- A payment on its way back: clawed_back (written down and taken out of the account) -> finished | refused, as the provider says.
CREATE TABLE order_refund (
    refund_id       uuid PRIMARY KEY,
    order_no        text COLLATE "C" NOT NULL,
    attempt         integer NOT NULL,
    reason          text NOT NULL,
    asked_by        uuid NOT NULL,
    state           text COLLATE "C" NOT NULL DEFAULT 'clawed_back' CHECK (state IN ('clawed_back', 'finished', 'refused')),
    owed            bigint NOT NULL,
    cut_seconds     bigint NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL,
    look_at         timestamptz NOT NULL,
    ended_at        timestamptz,
    UNIQUE (order_no, attempt)
);

CREATE INDEX order_refund_due ON order_refund (look_at) WHERE state = 'clawed_back';
