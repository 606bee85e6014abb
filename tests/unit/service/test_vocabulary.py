import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled_service.errors import UnknownCharacter
from unrolled_service.models.vocabulary import Vocabulary

CHARACTERS = st.text(st.characters(exclude_categories=["Cs"]), min_size=2, max_size=40).map(
    lambda text: "".join(dict.fromkeys(text))
)


@given(CHARACTERS, st.data())
def test_decode_reverses_encode(characters: str, data: st.DataObject) -> None:
    vocabulary = Vocabulary(characters)
    text = data.draw(st.text(st.sampled_from(characters)))

    tokens = vocabulary.encode(text, field="prompt")

    assert tokens.dtype == np.int64
    assert vocabulary.decode(tokens) == text


def test_unknown_character_is_named_with_its_position_and_field() -> None:
    with pytest.raises(UnknownCharacter) as caught:
        Vocabulary("helo").encode("hello☃!", field="prompt")

    assert caught.value.field == "prompt"
    assert "'☃' (U+2603)" in caught.value.message
    assert "position 5" in caught.value.message


def test_a_null_character_and_a_trailing_one_survive() -> None:
    vocabulary = Vocabulary("a\0b")

    assert vocabulary.decode(vocabulary.encode("b\0a\0\0", field="prompt")) == "b\0a\0\0"
