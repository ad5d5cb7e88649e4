"""A text of one word skips the rules that need another character."""

from hypothesis import given
from hypothesis import strategies as st

from core.platform.observability import redaction

PIECES = (
    *("postgres", "callbacks", "authorization", "bearer", "Key", "token", "basic", "password"),
    *(
        "api_key",
        "0c1b2a3d-0000-4000-8000-abcdefabcdef",
        "a1" * 20,
        "data",
        "base64",
        "2F",
        "-",
        ".",
    ),
)


@given(
    st.lists(st.sampled_from(PIECES) | st.from_regex(r"[\w.-]{1,6}", fullmatch=True)).map("".join)
)
def test_no_skipped_rule_matches_one_word(text: str) -> None:
    assert redaction._ONE_WORD.fullmatch(text)  # pyright: ignore[reportPrivateUsage]
    assert redaction._QUERY.search(text) is None  # pyright: ignore[reportPrivateUsage]
    for pattern, _ in redaction._RULES:  # pyright: ignore[reportPrivateUsage]
        assert pattern.search(text) is None, pattern.pattern


def test_key_of_one_word_is_redacted() -> None:
    assert redaction.Redactor().text("tko_abcdefgh1234") == "tko_[redacted]"
    assert redaction.Redactor(["exact-secret-value"]).text("exact-secret-value") == "[redacted]"
