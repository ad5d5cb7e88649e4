-- The age by which nearly all callbacks of a model's recent jobs had arrived. A job whose callback is
-- missing is first looked at then. No row: the catalogue's usual duration decides.
CREATE TABLE model_durations (
    provider      text NOT NULL,
    model         text NOT NULL,
    slow_seconds  float8 NOT NULL,
    samples       integer NOT NULL,
    measured_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (provider, model)
);
GRANT SELECT ON model_durations TO takeone_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON model_durations TO takeone_system;
