-- One owner's tasks, newest first: a page of them is found in the index alone, however deep, and only its rows are read.
DROP INDEX task_owner;
CREATE INDEX task_owner ON task (user_id, created_at DESC, task_id DESC) INCLUDE (kind);
