"""How a call ended."""

from dataclasses import dataclass
from enum import Enum


class FinishReason(Enum):
    """Why a call ended; the names are those of the wire contract, but for the last one, which no message tells."""

    LENGTH = "length"
    STOP = "stop"
    END = "end"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of a call; durations in seconds from its arrival.

    Attributes:
        reason: END also where the caller's inputs have come to their end.
        stop: the stop text that was met, or nothing.
        prompt_tokens: tokens, or vectors, that were fed.
        generated_tokens: those that were given.
        seed: of the draws.
        start_position, position: where it began and ended.
        queue_s: until its first place in a slice.
        first_token_s: until its first output.
        total_s: until its last one.
    """

    reason: FinishReason
    stop: str
    prompt_tokens: int
    generated_tokens: int
    seed: int
    start_position: int
    position: int
    queue_s: float
    first_token_s: float
    total_s: float
