-- Headers that an endpoint's webhooks carry in addition, for example Authorization.
ALTER TABLE secrets DROP CONSTRAINT secrets_kind_check;
ALTER TABLE secrets ADD CONSTRAINT secrets_kind_check
    CHECK (kind IN ('webhook_secret', 'webhook_headers') OR kind LIKE 'provider_key/_%');
