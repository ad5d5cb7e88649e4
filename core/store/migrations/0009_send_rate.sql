-- A provider that answers 429 is asked more slowly, too, until it accepts again. NULL: as the setting says.
ALTER TABLE provider_states
    ADD COLUMN submits_per_second double precision CHECK (submits_per_second > 0),
    ADD COLUMN next_send_at timestamptz;                          -- while it is lowered: the next send's turn
