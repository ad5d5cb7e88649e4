-- Paid steps whose files an earlier purchase of the user already brought.

-- content_key: of a job that may reuse files, or whose files may be reused: a hash of the model, its
-- inputs and the bytes of its files. saved_nano_usd: what the files of `reused_from` cost.
ALTER TABLE jobs ADD COLUMN content_key text, ADD COLUMN saved_nano_usd bigint;
CREATE INDEX jobs_by_content_key ON jobs (user_id, content_key) WHERE content_key IS NOT NULL;
