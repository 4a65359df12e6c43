-- Something somebody wants to buy: pending -> paid -> refunded, pending -> cancelled | expired; a payment that arrives late pays even then.
-- Changed only under the lock of the account it goes to.
CREATE TABLE payment_order (
    order_id        uuid PRIMARY KEY,
    order_no        text COLLATE "C" NOT NULL UNIQUE,
    user_id         uuid NOT NULL,
    package_id      text NOT NULL,
    asset           text COLLATE "C" NOT NULL CHECK (asset IN ('credit', 'point')),
    amount          bigint NOT NULL CHECK (amount > 0),
    membership_days integer NOT NULL CHECK (membership_days >= 0),
    price_minor     bigint NOT NULL CHECK (price_minor > 0),
    currency        text COLLATE "C" NOT NULL CHECK (length(currency) = 3),
    method          text COLLATE "C" NOT NULL,
    provider        text COLLATE "C" NOT NULL,
    body_hash       bytea NOT NULL,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    look_at         timestamptz NOT NULL,
    state           text COLLATE "C" NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'paid', 'refunded', 'cancelled', 'expired')),
    version         integer NOT NULL DEFAULT 0,
    merchant_id     text,
    intent_id       text,
    params          jsonb,
    transaction_id  text,
    lot_number      bigint,
    paid_at         timestamptz,
    ended_at        timestamptz,
    CHECK ((state IN ('paid', 'refunded')) = (paid_at IS NOT NULL))
);

CREATE INDEX payment_order_user ON payment_order (user_id, created_at DESC, order_id DESC);
CREATE INDEX payment_order_newest ON payment_order (created_at DESC, order_id DESC);
CREATE INDEX payment_order_state ON payment_order (state, created_at DESC, order_id DESC);
-- Only orders that wait for their payment: what upkeep asks the provider about.
CREATE INDEX payment_order_due ON payment_order (look_at) WHERE state = 'pending';

-- What was ordered, paid and refunded per day (UTC) and currency: sums nobody has to count again.
CREATE TABLE order_day (
    day            date NOT NULL,
    currency       text COLLATE "C" NOT NULL,
    created        bigint NOT NULL DEFAULT 0,
    paid           bigint NOT NULL DEFAULT 0,
    paid_minor     bigint NOT NULL DEFAULT 0,
    refunded       bigint NOT NULL DEFAULT 0,
    refunded_minor bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (day, currency)
);
