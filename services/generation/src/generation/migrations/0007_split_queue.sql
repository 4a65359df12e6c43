-- What is claimed: running tasks by the end of their lease, pictures and songs apart.
CREATE INDEX task_lease ON task ((kind = 'song'), due_at) WHERE state = 'running';
-- How much of one user's runs.
CREATE INDEX task_running ON task (user_id, (kind = 'song')) WHERE state = 'running';
-- Who has what waiting, oldest first. A task that begins at once never enters it.
DROP INDEX task_waiting;
CREATE INDEX task_waiting ON task (user_id, (kind = 'song'), due_at) WHERE state = 'queued';
DROP INDEX task_due;
