"""fal's models, as the vendor published them (read 2026-09 to 2026-11)."""
