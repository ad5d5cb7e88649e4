-- Leases: which process leads a kind of background work, by this server's clock.
CREATE TABLE leases (
    name       text PRIMARY KEY,
    token      text NOT NULL,                            -- of the process that holds the lease
    expires_at timestamptz NOT NULL
);

ALTER TABLE leases ENABLE ROW LEVEL SECURITY;
ALTER TABLE leases FORCE ROW LEVEL SECURITY;
CREATE POLICY all_rows ON leases TO takeone_system USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON leases TO takeone_system;
