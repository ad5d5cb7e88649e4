-- How long recent jobs of each model took, from the accepted send to the end: the basis of `eta`.
CREATE TABLE job_durations (
    provider     text NOT NULL,          -- '': the time from the last job's end to the execution's end
    model        text NOT NULL,
    length       text NOT NULL,          -- the requested seconds of video or sound; '': all jobs of the model
    quantiles    jsonb NOT NULL,         -- seconds; of a media step, multiples of its usual duration
    samples      integer NOT NULL,
    measured_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (provider, model, length)
);
GRANT SELECT ON job_durations TO takeone_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON job_durations TO takeone_system;

-- The waiting jobs of one user, for their positions.
CREATE INDEX ON submit_queue (user_id);
