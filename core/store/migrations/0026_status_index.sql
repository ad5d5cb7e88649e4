-- The order of the ids in this index is that of no other: a list by status must not walk the primary key, which
-- would read every execution of a service for a status that is rare. POSIX sorts like C.
CREATE INDEX executions_by_status_and_id ON executions (user_id, status, execution_id COLLATE "POSIX" DESC);
DROP INDEX executions_by_status;
