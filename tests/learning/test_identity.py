"""Two deployments find that they hold the same pattern; nothing else collides."""

import hashlib
import hmac
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from learning.identity import signature_id

KEY = bytes(range(32))
texts = st.lists(st.text("ab", max_size=3), max_size=3)


@pytest.mark.parametrize(
    ("pattern_type", "modules", "event_types", "pattern_id", "expected"),
    [
        ("latency", ["cache", "api"], ["timeout"], "p-1", "a113a0ce1ff21db9014e64847280ccb4"),
        ("latency", [], [], "p-1", "24efa5905e08df4153abc8ad1834ddfc"),
        ("drift", [], ["größe"], "", "796cca2173d5dd739b14492c1b2c2a75"),
    ],
)
def test_signatures_never_change_between_versions(
    pattern_type: str, modules: list[str], event_types: list[str], pattern_id: str, expected: str
) -> None:
    assert signature_id(KEY, pattern_type, modules, event_types, pattern_id) == expected


def test_the_framing_is_length_prefixed() -> None:
    def text(value: bytes) -> bytes:
        return len(value).to_bytes(8, "big") + value

    message = text(b"flc/signature/hmac-sha256-v1") + text(b"latency")
    message += (2).to_bytes(8, "big") + text(b"api") + text(b"cache")
    message += (1).to_bytes(8, "big") + text(b"timeout")

    digest = hmac.new(KEY, message, hashlib.sha256).hexdigest()

    assert signature_id(KEY, "latency", ["cache", "api"], ["timeout"], "p-1") == digest[:32]


@settings(deadline=None)
@given(
    one=st.tuples(st.text("ab", max_size=2), texts, texts, st.text("ab", max_size=2)),
    other=st.tuples(st.text("ab", max_size=2), texts, texts, st.text("ab", max_size=2)),
)
def test_different_patterns_have_different_signatures(
    one: tuple[str, list[str], list[str], str], other: tuple[str, list[str], list[str], str]
) -> None:
    def identity(pattern: tuple[str, list[str], list[str], str]) -> tuple[object, ...]:
        pattern_type, modules, event_types, pattern_id = pattern
        return (
            pattern_type,
            sorted(modules),
            sorted(event_types),
            None if modules or event_types else pattern_id,
        )

    assume(identity(one) != identity(other))

    assert signature_id(KEY, *one) != signature_id(KEY, *other)


def test_a_text_cannot_be_shifted_from_one_list_to_the_next() -> None:
    assert (
        len(
            {
                signature_id(KEY, "t", ["a", "b"], [], ""),
                signature_id(KEY, "t", ["a"], ["b"], ""),
                signature_id(KEY, "t", [], ["a", "b"], ""),
                signature_id(KEY, "t", ["ab"], [], ""),
                signature_id(KEY, "ta", ["b"], [], ""),
            }
        )
        == 5
    )


def test_the_order_of_modules_and_event_types_means_nothing() -> None:
    assert signature_id(KEY, "t", ["a", "b"], ["x", "y"], "") == signature_id(
        KEY, "t", ["b", "a"], ["y", "x"], ""
    )


def test_the_local_name_counts_only_if_there_is_nothing_else() -> None:
    assert signature_id(KEY, "t", ["a"], [], "mine") == signature_id(KEY, "t", ["a"], [], "yours")
    assert signature_id(KEY, "t", [], ["x"], "mine") == signature_id(KEY, "t", [], ["x"], "yours")
    assert signature_id(KEY, "t", [], [], "mine") != signature_id(KEY, "t", [], [], "yours")


def test_one_text_has_one_signature_however_it_is_composed() -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"

    assert signature_id(KEY, "t", [composed, "caff"], [], "") == signature_id(
        KEY, "t", ["caff", decomposed], [], ""
    )
    assert signature_id(KEY, "t", [], [], composed) == signature_id(KEY, "t", [], [], decomposed)


def test_another_key_makes_every_signature_another_one() -> None:
    assert signature_id(KEY, "t", ["a"], [], "") != signature_id(KEY[::-1], "t", ["a"], [], "")


def test_a_signature_is_32_lower_case_hex_digits() -> None:
    assert re.fullmatch("[0-9a-f]{32}", signature_id(KEY, "t", ["a"], [], ""))


def test_a_key_that_could_be_guessed_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes"):
        signature_id(b"short", "t", ["a"], [], "")


def test_a_text_that_is_not_unicode_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        signature_id(KEY, "t", ["\ud800"], [], "")
