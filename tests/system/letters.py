"""What the alphabet cell of this folder's servers says, worked out without them."""

from tests.support.alphabet import LETTERS, sampled_tokens
from tests.system.conftest import SHARPNESS


def sampled_text(prompt: str, length: int, *, seed: int) -> str:
    """Return the text at temperature 1 after a prompt of one letter."""
    tokens = sampled_tokens(LETTERS.index(prompt), length, seed=seed, vocabulary_size=len(LETTERS), sharpness=SHARPNESS)
    return "".join(LETTERS[token] for token in tokens)
