"""Replicate's models, as the vendor published them (read 2026-05 to 2026-11)."""
