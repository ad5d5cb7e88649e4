-- What a stored file's headers state: size of the picture, duration, codec. Null: not read.
ALTER TABLE assets ADD COLUMN media jsonb;
