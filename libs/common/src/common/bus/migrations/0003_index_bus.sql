-- What is past keeping is looked for every hour; rows lie in the order they were heard in, so a line for every few pages finds them.
CREATE INDEX inbox_heard ON inbox USING brin (heard_at) WITH (pages_per_range = 32, autosummarize = on);

-- What needs somebody is counted every second, however much else waits.
CREATE INDEX outbox_parked ON outbox (parked_at) WHERE parked_at IS NOT NULL;
CREATE INDEX dead_letter_waiting ON dead_letter (dead_letter_id) WHERE replayed_at IS NULL;
