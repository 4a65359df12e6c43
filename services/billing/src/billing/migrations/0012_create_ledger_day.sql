-- What the ledger's entries of a day (UTC) that is over add up to, positive when it came to users. Only today is counted entry by entry.
CREATE TABLE ledger_day (
    day    date NOT NULL,
    asset  text COLLATE "C" NOT NULL,
    kind   text COLLATE "C" NOT NULL,
    amount bigint NOT NULL,
    PRIMARY KEY (day, asset, kind)
);
