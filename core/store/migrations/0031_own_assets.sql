-- Assets that users upload: no job produced them, and no execution owns them.

ALTER TABLE assets ALTER COLUMN job_id DROP NOT NULL, ALTER COLUMN output_number DROP NOT NULL,
                   ALTER COLUMN execution_id DROP NOT NULL;
ALTER TABLE assets ADD CONSTRAINT assets_source CHECK
    ((job_id IS NULL) = (execution_id IS NULL) AND (job_id IS NULL) = (output_number IS NULL)) NOT VALID;
ALTER TABLE assets VALIDATE CONSTRAINT assets_source;
-- A user's uploads are deduplicated by content.
CREATE UNIQUE INDEX assets_uploaded ON assets (user_id, sha256) WHERE job_id IS NULL;
CREATE INDEX assets_of_user ON assets (user_id, asset_id DESC);
CREATE INDEX assets_uploaded_by_time ON assets (created_at) WHERE job_id IS NULL;
-- PostgreSQL requires the right to change a column for a row lock; no statement changes this one.
GRANT UPDATE (created_at) ON assets TO takeone_app, takeone_system;

-- requested_at may lie in the future: the place of a file that is being uploaded. It is removed when
-- the asset is recorded, so that an upload that never ends leaves no file.
ALTER TABLE file_deletions ALTER COLUMN execution_id DROP NOT NULL;
GRANT DELETE ON file_deletions TO takeone_app;
