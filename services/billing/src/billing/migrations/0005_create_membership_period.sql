-- Until when somebody is a member: the latest end of their periods. Each period is granted once.
CREATE TABLE membership_period (
    user_id   uuid NOT NULL,
    kind      text COLLATE "C" NOT NULL,
    source    text COLLATE "C" NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at   timestamptz NOT NULL,
    PRIMARY KEY (kind, source),
    CHECK (ends_at > starts_at)
);

CREATE INDEX membership_period_user ON membership_period (user_id, ends_at);
