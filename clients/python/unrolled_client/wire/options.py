"""The optional keywords of the methods that ask a model, said once for all clients; None is the same as not given."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

from unrolled_client.answers import Condition, Numbers, Watched
from unrolled_client.values import Priority, Sampling


class CallOptions(TypedDict, total=False):
    """What all of them have in common.

    priority: "batch" lets other calls of the tenant go first where rows are scarce; otherwise "interactive".
    timeout: seconds that the whole call may take, with all its resuming; unlimited otherwise.
    """

    priority: Priority | None
    timeout: float | None


class WritingOptions(CallOptions, total=False):
    """What generating and transducing have in common.

    model: name of the bundle; may be left out while one is served, or on a session.
    sampling: the choices below as one value; a choice given beside it wins.
    temperature, top_k, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty, logit_bias: see
        Sampling.
    stop: texts that end the generation and are not part of it, at most 8 of 1 to 64 characters.
    seed: seed of the draws, 0 to 2^64 - 1; otherwise the session's, or one drawn for the call. The finish says it.
    logprobs: how many of the most probable tokens to describe beside each chosen one, at most 20.
    max_chunk_tokens: most tokens that a piece carries; 1 gives each character by itself, at the price of throughput.
    resume: False makes a break of the stream final; otherwise the client's policy holds.
    """

    model: str | None
    sampling: Sampling | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    logit_bias: Mapping[str, float] | None
    stop: str | Sequence[str] | None
    seed: int | None
    logprobs: int | None
    max_chunk_tokens: int | None
    resume: bool | None


class GenerateOptions(WritingOptions, total=False):
    """The optional keywords of every generate method.

    condition: what to generate: one of the bundle's names, or as many numbers as it takes; needed at position 0 where
        the bundle has a condition, refused elsewhere.
    prompt_vectors: vectors to feed first, where the bundle generates vectors.
    activations: what to report of the state that each token or vector comes from: `Activations`, or a state's name,
        or a pair of a name and units.
    expected_position: position that the session must have for the call to act.
    resumed_tokens: how many tokens at the end of the prompt a call that broke off had generated.
    preempt: stop a stream that runs on the session, in place of being refused.
    """

    condition: Condition | None
    prompt_vectors: Iterable[Numbers] | None
    activations: Watched | None
    expected_position: int | None
    resumed_tokens: int | None
    preempt: bool | None


class WatchingOptions(CallOptions, total=False):
    """What reading and scoring have in common.

    activations: what to report of the state after each input, or after the last one where there is one answer:
        `Activations`, a state's name, or a pair of a name and units; otherwise nothing.
    """

    activations: Watched | None


class ReadingOptions(WatchingOptions, total=False):
    """The optional keywords of stepping and classifying from a fresh state on.

    model: name of the bundle; may be left out while one is served.
    """

    model: str | None


class SessionReadingOptions(WatchingOptions, total=False):
    """The optional keywords of stepping and classifying on a session.

    expected_position: position that the session must have for the call to act.
    preempt: stop a call that runs on the session, in place of being refused.
    """

    expected_position: int | None
    preempt: bool | None


class ScoreOptions(ReadingOptions, total=False):
    """The optional keywords of scoring.

    logprobs: how many of the most probable tokens to describe beside each one, at most 20; needs per_token.
    per_token: describe every token; the text may then have at most 8,192. Activations, those of the state that each
        token is predicted from, need it too.
    condition: what sets the state at position 0: a name or numbers; needed where the bundle has a condition.
    """

    logprobs: int | None
    per_token: bool | None
    condition: Condition | None
