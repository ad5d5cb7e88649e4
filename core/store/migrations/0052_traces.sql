-- The trace of the request that an execution was ordered or retried with, for starts and links.
ALTER TABLE executions ADD COLUMN traceparent text;
