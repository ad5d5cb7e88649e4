"""Operations on one file."""
