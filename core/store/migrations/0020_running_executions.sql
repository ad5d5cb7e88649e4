-- The reconciler reads running executions page by page, those past their deadline, and those with a
-- requested cancel. Each index has rows only while an execution runs.
CREATE INDEX executions_running ON executions (execution_id) WHERE status = 'running';
CREATE INDEX executions_deadline ON executions (deadline_at) WHERE status = 'running';
CREATE INDEX executions_cancel_requested ON executions (execution_id)
    WHERE status = 'running' AND cancel_requested_at IS NOT NULL;
