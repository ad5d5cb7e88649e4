-- Listening endpoints: their events go to an open stream instead of a URL.

-- The url of such an endpoint is `stream:` with its id, so that every reference to a URL works.
-- listened_at: when a listener was connected last, or the endpoint was created. replaced: the default
-- endpoint that it stands in for.
ALTER TABLE endpoints
    ADD COLUMN kind text NOT NULL DEFAULT 'url' CHECK (kind IN ('url', 'stream')),
    ADD COLUMN listened_at timestamptz,
    ADD COLUMN replaced text,
    ADD CHECK ((kind = 'stream') = (listened_at IS NOT NULL)),
    ADD CHECK ((kind = 'stream') = (url = 'stream:' || endpoint_id));
-- To delete those without a listener.
CREATE INDEX endpoints_listening ON endpoints (listened_at) WHERE kind = 'stream' AND deleted_at IS NULL;
