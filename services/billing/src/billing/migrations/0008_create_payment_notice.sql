-- What payment providers told us, as it came, each message once; `handled_at` is when it had its effect, or was found to have none.
CREATE TABLE payment_notice (
    provider    text COLLATE "C" NOT NULL,
    event_id    text COLLATE "C" NOT NULL,
    order_no    text COLLATE "C" NOT NULL,
    body        bytea NOT NULL,
    headers     jsonb NOT NULL,
    received_at timestamptz NOT NULL,
    handled_at  timestamptz,
    PRIMARY KEY (provider, event_id)
);

CREATE INDEX payment_notice_order ON payment_notice (order_no);

-- Money that arrived and bought nothing, or a refund that does not come to an end: somebody has to look at it.
CREATE TABLE payment_alert (
    alert_id       uuid PRIMARY KEY,
    fault          text COLLATE "C" NOT NULL,
    provider       text COLLATE "C" NOT NULL,
    order_no       text COLLATE "C" NOT NULL,
    transaction_id text NOT NULL,
    amount_minor   bigint NOT NULL,
    currency       text NOT NULL,
    at             timestamptz NOT NULL,
    closed_at      timestamptz,
    closed_by      uuid
);

CREATE INDEX payment_alert_open ON payment_alert (at DESC) WHERE closed_at IS NULL;
CREATE INDEX payment_alert_order ON payment_alert (order_no);
CREATE INDEX payment_notice_unhandled ON payment_notice (received_at) WHERE handled_at IS NULL;
