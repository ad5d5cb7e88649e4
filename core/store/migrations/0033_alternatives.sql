-- Failover: the models that a job's step may be bought with instead, each with its quote, in the
-- order in which they are tried. NULL: none, or none is left.
ALTER TABLE jobs ADD COLUMN alternatives jsonb;
-- How the parameters of this job differ from those of its step, which has the defaults of its first
-- model. NULL: not at all.
ALTER TABLE jobs ADD COLUMN parameter_changes jsonb;
