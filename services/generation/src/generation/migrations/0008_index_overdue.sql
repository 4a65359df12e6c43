-- Each statement alone: tasks are written all the time.
-- What has waited too long. A task that begins at once never enters it.
DROP INDEX CONCURRENTLY IF EXISTS task_overdue;
CREATE INDEX CONCURRENTLY task_overdue ON task (start_by) WHERE state = 'queued';
