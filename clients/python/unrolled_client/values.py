"""What callers give and get: frozen values that know nothing of the wire."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Literal

from unrolled_client.answers import Vector

Priority = Literal["interactive", "batch"]


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen from the model's logits. None leaves a choice to the server's default.

    Attributes:
        temperature: divides the logits; 0 to 100, 0 takes the most probable token. Default 1.
        top_k: keeps this many most probable tokens; 0 keeps all. Default 0.
        top_p: keeps the fewest most probable tokens that add up to this probability; above 0, at most 1.
            Default 1.
        min_p: keeps tokens at least this times as probable as the most probable one; 0 to 1. Default 0.
        repetition_penalty: divides or multiplies the logits of tokens seen before. Default 1.
        presence_penalty: subtracted from the logits of tokens generated before. Default 0.
        frequency_penalty: subtracted once for each time that a token was generated. Default 0.
        logit_bias: added to the logits, by token.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Mapping[str, float] | None = None


@dataclass(frozen=True)
class TokenLogprob:
    """The natural log-probability of one token by the model's own logits."""

    token: str
    logprob: float


@dataclass(frozen=True)
class TokenLogprobs:
    """The token chosen at one position and the most probable ones, most probable first."""

    chosen: TokenLogprob
    top: tuple[TokenLogprob, ...]


@dataclass(frozen=True)
class Chunk:
    """A piece of what is generated, to be appended to what came before.

    Attributes:
        text: at least one character; empty where vectors are generated.
        position: tokens, or vectors, in the session's history once this is taken.
        logprobs: one entry a token of the text; empty when not asked for.
        vectors: at least one vector; none where text is generated.
        activations: one entry a token or vector, of the state that it came from; empty when not asked for.
    """

    text: str
    position: int
    logprobs: tuple[TokenLogprobs, ...] = ()
    vectors: tuple[Vector, ...] = ()
    activations: tuple[Vector, ...] = ()

    @property
    def count(self) -> int:
        """Return how many tokens or vectors it carries."""
        return len(self.text) + len(self.vectors)


@dataclass(frozen=True)
class Finish:
    """How a generation ended.

    Attributes:
        reason: "length" (max_tokens were generated), "stop" (a stop text was met) or "end" (the model ended it);
            a reason that only a newer server knows is its number.
        stop: the stop text that was met; None for another reason.
        prompt_tokens: tokens, or vectors, that were fed: those of the prompt, of the source, and the bundle's start.
        generated_tokens: tokens, or vectors, generated and sent.
        seed: the seed that was used, drawn by the server or not.
        position: tokens in the session's history, where a next call continues.
        start_position: tokens in the session's history before the call.
        queue_s: seconds on the server from the request's arrival to its first work.
        first_token_s: seconds on the server from the request's arrival to its first token.
        total_s: seconds on the server from the request's arrival to its last token.

    All is about the whole generation, however often it was resumed, except the three durations: they are those of
    the last call.
    """

    reason: str
    stop: str | None
    prompt_tokens: int
    generated_tokens: int
    seed: int
    position: int
    start_position: int
    queue_s: float
    first_token_s: float
    total_s: float


@dataclass(frozen=True)
class Score:
    """How likely a model finds a text.

    Attributes:
        logprob: sum of the natural log-probabilities of the predicted tokens.
        tokens: tokens predicted: those of the text less one; all of them where the bundle has a start token.
        nats_per_token: mean negative log-likelihood in nats.
        bits_per_token: the same in bits.
        logprobs: one entry a predicted token; empty when not asked for.
        activations: one entry a predicted token, of the state that it was predicted from; empty when not asked for.
    """

    logprob: float
    tokens: int
    nats_per_token: float
    bits_per_token: float
    logprobs: tuple[TokenLogprobs, ...] = ()
    activations: tuple[Vector, ...] = ()


@dataclass(frozen=True)
class SessionInfo:
    """A session as the server described it at one moment.

    Attributes:
        id: unguessable id, made by the server.
        model: name of its bundle.
        seed: seed of its draws where a call gives none.
        position: tokens in its history, everything fed and everything delivered.
        is_busy: a stream is running on it.
        create_time: when it was made, in UTC.
        expire_time: when it ends unless it is used before, in UTC.
        rewindable_from: the earliest position that it can be rewound to.
        tier: where its state is kept: "resident" (in the memory that streams run on) or "packed" (in the server's
            memory); a tier that only a newer server knows is its number.
        is_stored: it is in a store, so that every server of that store can continue it.
    """

    id: str
    model: str
    seed: int
    position: int
    is_busy: bool
    create_time: datetime
    expire_time: datetime
    rewindable_from: int
    tier: str
    is_stored: bool = False


@dataclass(frozen=True)
class ResumePolicy:
    """How long a client tries to overcome a break. All bounds are on time and attempts without any new text.

    Attributes:
        max_attempts: attempts after a break, at least 0.
        timeout_s: seconds after a break until which an attempt may begin.
        connect_timeout_s: the same for a call that has not met any server yet.
        initial_backoff_s: seconds before the first attempt; twice that before the second, and so on. A server that
            says when to come back is obeyed instead.
        max_backoff_s: most seconds between attempts.

    Raises:
        ValueError: a number is negative or not finite.
    """

    max_attempts: int = 20
    timeout_s: float = 30.0
    connect_timeout_s: float = 2.0
    initial_backoff_s: float = 0.05
    max_backoff_s: float = 2.0

    def __post_init__(self) -> None:
        for name, number in vars(self).items():
            if not 0 <= number < inf:
                raise ValueError(f"{name} must be finite and at least 0, is {number}")
