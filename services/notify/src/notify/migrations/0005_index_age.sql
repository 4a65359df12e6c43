-- Retention looks for old notices every few minutes; rows lie in the order they were made in, so a line for every few pages finds them.
CREATE INDEX notice_age ON notice USING brin (created_at) WITH (pages_per_range = 32, autosummarize = on);
