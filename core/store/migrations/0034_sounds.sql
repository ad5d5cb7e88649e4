-- The sound of a video is extracted once per user: an asset of its own, found by the video's content.

ALTER TABLE assets ADD COLUMN sound_of text;
CREATE UNIQUE INDEX assets_sounds ON assets (user_id, sound_of) WHERE sound_of IS NOT NULL;
