"""What a caller wants to be generated."""

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from unrolled_service.graphs.program import Tokens
from unrolled_service.graphs.sampling import Sampling
from unrolled_service.graphs.state import Floats
from unrolled_service.rows.text_row import NOTHING


@dataclass(frozen=True, slots=True)
class Generation:
    """A checked request.

    Attributes:
        prompt: int64[P] tokens, or f32[P, F] vectors, to feed first.
        max_tokens: how many tokens or vectors to generate, at least 1.
        sampling: how to choose them.
        stops: texts that end it.
        seed: seed of the draws; None takes the session's.
        session_id: the session to continue; None for a throw-away state.
        expected_position: position the session must have; None for any.
        logprobs: how many of the most probable tokens to describe beside each chosen one; 0 describes nothing.
        resumed_tokens: how many tokens at the end of the prompt a broken call had generated.
        max_chunk_tokens: most tokens that a message carries; 0 for no limit.
        end: the text of the token that ends it by itself; None where there is none.
        condition: f32[C], what sets the state at position 0; None where the call gives nothing.
        traced: int64[N], places of the state to report with every token.
    """

    prompt: NDArray[Any]
    max_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    stops: tuple[str, ...] = ()
    seed: int | None = None
    session_id: str | None = None
    expected_position: int | None = None
    logprobs: int = 0
    resumed_tokens: int = 0
    max_chunk_tokens: int = 0
    end: str | None = None
    condition: Floats | None = None
    traced: Tokens = field(default_factory=lambda: NOTHING)
