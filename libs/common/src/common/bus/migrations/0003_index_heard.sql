-- What is past keeping is looked for every hour; rows lie in the order they were heard in, so a line for every few pages finds them.
CREATE INDEX inbox_heard ON inbox USING brin (heard_at) WITH (pages_per_range = 32, autosummarize = on);
