-- Users whose orders of one hour cost more than on any of their last seven days, for operators.
-- The primary key makes each user reported once a day.
CREATE TABLE user_spend_spikes (
    user_id         text NOT NULL REFERENCES users,
    day             date NOT NULL,
    nano_usd        bigint NOT NULL,                     -- of the hour
    usual_nano_usd  bigint NOT NULL,                     -- of the most expensive of the seven days
    at              timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, day)
);
CREATE INDEX user_spend_spikes_at ON user_spend_spikes (at);
-- A small table: a row for each user, month and threshold, which is indexed at once.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX budget_alerts_at ON budget_alerts (reached_at);

CALL enable_row_security('user_spend_spikes');
GRANT SELECT, INSERT ON user_spend_spikes TO takeone_system;
