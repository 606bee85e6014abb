from hypothesis import given
from hypothesis import strategies as st

from unrolled_service.rows.stops import StopMatcher

TEXT = st.text("ab\n", max_size=30)
STOPS = st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=4)


def first_stop(text: str, stops: list[str]) -> tuple[str, str] | None:
    """Grow the text a character at a time; return what stands before the stop, and the stop."""
    for end in range(1, len(text) + 1):
        met = [stop for stop in stops if text[:end].endswith(stop)]
        if met:
            longest = max(met, key=len)
            return text[: end - len(longest)], longest
    return None


@given(TEXT, STOPS, st.data())
def test_outcome_does_not_depend_on_the_pieces(text: str, stops: list[str], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    matcher, shown, match = StopMatcher(stops), "", None
    for piece in pieces:
        more, match = matcher.feed(piece)
        shown += more
        if match:
            break

    expected = first_stop(text, stops)
    if expected is None:
        assert match is None
        assert shown + matcher.flush() == text
    else:
        assert match is not None
        assert (shown, match.stop) == expected


@given(TEXT, STOPS)
def test_no_more_is_held_back_than_could_become_a_stop(text: str, stops: list[str]) -> None:
    matcher = StopMatcher(stops)
    shown, match = matcher.feed(text)
    if match is None:
        held = text[len(shown) :]
        assert held == "" or any(stop.startswith(held) for stop in stops)


def test_text_flows_at_once_without_stops() -> None:
    assert StopMatcher(()).feed("abc") == ("abc", None)
