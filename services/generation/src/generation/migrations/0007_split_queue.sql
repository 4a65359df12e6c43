-- Each statement alone: tasks are written all the time.
-- What is claimed: running tasks by the end of their lease, pictures and songs apart.
DROP INDEX CONCURRENTLY IF EXISTS task_lease;
CREATE INDEX CONCURRENTLY task_lease ON task ((kind = 'song'), due_at) WHERE state = 'running';
-- How much of one user's runs.
DROP INDEX CONCURRENTLY IF EXISTS task_running;
CREATE INDEX CONCURRENTLY task_running ON task (user_id, (kind = 'song')) WHERE state = 'running';
-- Who has what waiting, oldest first. A task that begins at once never enters it.
DROP INDEX CONCURRENTLY IF EXISTS task_waiting;
CREATE INDEX CONCURRENTLY task_waiting ON task (user_id, (kind = 'song'), due_at) WHERE state = 'queued';
DROP INDEX CONCURRENTLY IF EXISTS task_due;
