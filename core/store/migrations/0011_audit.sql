-- Operator actions. Insert-only.

CREATE TABLE audit_log (
    audit_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT now(),
    actor     text NOT NULL,                       -- the operator who ran the command
    action    text NOT NULL,                       -- 'jobs adopt', 'jobs settle', 'submits pause', 'recover', …
    target    text NOT NULL,                       -- the id of the changed object
    detail    jsonb NOT NULL DEFAULT '{}'
);

ALTER TABLE audit_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_log FORCE ROW LEVEL SECURITY;
CREATE POLICY all_rows ON audit_log TO takeone_system USING (true);
GRANT SELECT, INSERT ON audit_log TO takeone_system;
