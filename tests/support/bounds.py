"""The bounds of every field of every request, as the protos document them.

``said`` are words of the comments on the way to the field, so a bound cannot change without its words. What a server's
settings bound is asked of a server with small ones; ``setting`` says which, and the words give its default.
"""

from dataclasses import dataclass
from typing import Any

FOLDER = "/".join(("b" * 200, "b" * 200, "b" * 110))
"""The folder, of as many characters as it may have, of the bundle that loading is tried with."""
WORLD = {"max_tokens": 300, "max_prompt_tokens": 5000, "max_session_ttl_s": 1000.0}
"""Settings of the server that the bounds are tried on."""


@dataclass(frozen=True)
class Bound:
    """What one field may be.

    Attributes:
        said: words of the proto's comments.
        base: the request in which the field is tried, by name.
        setting: the setting that moves it.
        otherwise: reasons for which a value within the bounds may still be refused: it names nothing that is there.
    """

    said: str
    base: str = ""
    setting: str = ""
    otherwise: tuple[str, ...] = ()


@dataclass(frozen=True)
class Number(Bound):
    """From ``low`` to ``high``, or one of ``also``; of a list, each of its numbers."""

    low: float = 0
    high: float = 0
    also: tuple[float, ...] = ()


@dataclass(frozen=True)
class Text(Bound):
    """``low`` to ``high`` characters, or bytes, or none; ``known`` are the only ones, where there are any."""

    low: int = 0
    high: int = 0
    may_be_empty: bool = False
    known: tuple[str, ...] = ()
    letter: str = "a"


@dataclass(frozen=True)
class Many(Bound):
    """``low`` to ``high`` entries, each as ``each`` says; ``item`` is one that is right."""

    low: int = 0
    high: int = 0
    item: Any = None
    each: Bound | None = None


@dataclass(frozen=True)
class Flag(Bound):
    """Yes or no."""


@dataclass(frozen=True)
class Choice(Bound):
    """One of the numbers of its enum."""


UINT64 = 2**64 - 1
LARGEST, SMALLEST = 3.4028234663852886e38, 1.401298464324817e-45  # of a float
_SEED = Number("from 0 to 2^64 - 1", high=UINT64)
_MODEL = Text("at most 128 characters", high=128, otherwise=("MODEL_NOT_FOUND",))
_EXPECTED = Number("up to 2^64 - 1", high=UINT64, otherwise=("POSITION_MISMATCH",))
_SESSION = Text("1 to 64 characters", low=1, high=64, otherwise=("SESSION_NOT_FOUND",))
_OPTIONAL_SESSION = Text("at most 64 characters", high=64, otherwise=("SESSION_NOT_FOUND",))
_KEY = Text("1 to 64 characters", high=64, otherwise=("IDEMPOTENCY_CONFLICT",))
_PRIORITY = Choice("Unset: interactive")
_CHUNK = Number("at most 65,536", high=65_536)
_LOGPROBS = Number("at most 20", high=20)
_STOP = Many("at most 8 of 1 to 64 characters", high=8, item="x", each=Text("1 to 64 characters", low=1, high=64))
_MAX_TOKENS = Number("from 1 to the server's limit (by default 65,536)", setting="max_tokens", low=1, high=300)
_TTL_SECONDS = Number(
    "from 1 s to the server's limit (by default 86,400 s)", setting="max_session_ttl_s", low=1, high=1000
)
_TTL_NANOS = Number("from 1 s to the server's limit", low=0, high=999_999_999)
_FLAG = Flag("")
_HASH = Text("32 bytes", low=32, high=32, may_be_empty=True, otherwise=("MODEL_MISMATCH",))
_ORIGIN: dict[str, Bound] = {"origin.model_sha256": _HASH, "origin.numerics": _HASH}
_WIDE = Many("finite numbers", low=3, high=3, item=0.5, each=Number("finite", low=-LARGEST, high=LARGEST))


def _sampling(base: str) -> dict[str, Bound]:
    return {
        "sampling.temperature": Number("from 0.01 to 100, or 0", base, low=0.01, high=100, also=(0,)),
        "sampling.top_k": Number("at most 2^31 - 1", base, high=2**31 - 1),
        "sampling.top_p": Number("above 0, at most 1", base, low=SMALLEST, high=1),
        "sampling.min_p": Number("from 0 to 1", base, high=1),
        "sampling.repetition_penalty": Number("from 0.01 to 100", base, low=0.01, high=100),
        "sampling.presence_penalty": Number("from -2 to 2", base, low=-2, high=2),
        "sampling.frequency_penalty": Number("from -2 to 2", base, low=-2, high=2),
        "sampling.logit_bias": Many("each from -100 to 100, tokens of the vocabulary, at most 1,024", base, high=1024),
    }


def _activations(place: str, base: str) -> dict[str, Bound]:
    return {
        f"{place}.state": Text("at most 64 characters", base, low=1, high=64, known=("h0",)),
        f"{place}.units": Many(
            "each below its size; at most 256",
            base,
            high=256,
            item=0,
            each=Number("", high=7 if place.startswith("opening") else 0),
        ),
    }


def _condition(labelled: str, wide: str) -> dict[str, Bound]:
    return {
        "condition.label": Text("at most 64 characters", labelled, low=1, high=64, known=("low", "middle", "high")),
        "condition.vector.values": Many(
            "As many finite numbers as its width", wide, low=2, high=2, item=0.5, each=_WIDE.each
        ),
    }


def _inputs(place: str, tokens: str, vectors: str, low: int, high: int, **rest: Any) -> dict[str, Bound]:
    said = "by default at most 65,536" if rest else "From 1 to 4,096 inputs"
    return {
        f"{place}.text": Text(said, tokens, low=low, high=high, **rest),
        f"{place}.vectors": Many(said, vectors, low=low, high=high, item=[0.5] * 3, **rest),
        f"{place}.vectors.values": Many(
            "Vectors of finite numbers, each as wide as the bundle's input",
            vectors,
            low=3,
            high=3,
            item=0.5,
            each=_WIDE.each,
        ),
    }


def _otherwise_any(reason: str) -> Bound:
    """Return the bound of a sha256 that another bundle than the one that is there may have."""
    return Text("64 lower-case hex digits", low=64, high=64, may_be_empty=True, otherwise=(reason,))


def _opening(kind: str) -> dict[str, Bound]:
    return {
        "opening.model": _MODEL,
        "opening.session_id": Text("at most 64 characters", high=64, otherwise=("SESSION_NOT_FOUND",)),
        "opening.expected_position": _EXPECTED,
        "opening.preempt": _FLAG,
        "opening.priority": _PRIORITY,
        **_activations("opening.activations", f"{kind}/watched"),
    }


BOUNDS: dict[str, dict[str, Bound]] = {
    "GenerateRequest": {
        "model": _MODEL,
        "session_id": _OPTIONAL_SESSION,
        "prompt": Text("by default at most 65,536 tokens", setting="max_prompt_tokens", low=1, high=5000),
        "max_tokens": _MAX_TOKENS,
        **_sampling(""),
        "stop": _STOP,
        "seed": _SEED,
        "logprobs": _LOGPROBS,
        "expected_position": _EXPECTED,
        "resumed_tokens": Number("at most the prompt's", high=1),
        "max_chunk_tokens": _CHUNK,
        "preempt": _FLAG,
        **_condition("GenerateRequest/drawer", "GenerateRequest/drawer-vector"),
        "prompt_vectors": Many("at most 4,096 in 1 MiB", "GenerateRequest/drawer", high=4096, item=[0.5] * 3),
        "prompt_vectors.values": Many(
            "Vectors to feed", "GenerateRequest/drawer", low=3, high=3, item=0.5, each=_WIDE.each
        ),
        **_activations("activations", "GenerateRequest/watched"),
        "priority": _PRIORITY,
        **_ORIGIN,
    },
    "ScoreRequest": {
        "model": _MODEL,
        "text": Text("at least two tokens, by default at most 65,536", setting="max_prompt_tokens", low=2, high=5000),
        "logprobs": _LOGPROBS,
        "per_token": _FLAG,
        **_activations("activations", "ScoreRequest/watched"),
        "condition.label": Text(
            "at most 64 characters", "ScoreRequest/composer", low=1, high=64, known=("low", "high")
        ),
        "condition.vector.values": Many("refused where it has none", low=1, high=0, item=0.5),
        "priority": _PRIORITY,
    },
    "StepRequest": {
        **_opening("StepRequest"),
        **_inputs("inputs", "StepRequest", "StepRequest/tagger-vectors", 0, 4096),
    },
    "ClassifyRequest": {
        **_opening("ClassifyRequest"),
        **_inputs("inputs", "ClassifyRequest", "ClassifyRequest/classifier", 1, 4096),
    },
    "TransduceRequest": {
        "model": _MODEL,
        **_inputs("source", "", "TransduceRequest/translator-vectors", 1, 5000, setting="max_prompt_tokens"),
        "max_tokens": Number(
            "from 1 to the server's limit (by default 65,536), or 0", setting="max_tokens", low=0, high=300
        ),
        **_sampling(""),
        "stop": _STOP,
        "seed": _SEED,
        "logprobs": _LOGPROBS,
        "max_chunk_tokens": _CHUNK,
        "priority": _PRIORITY,
        **_ORIGIN,
    },
    "CreateSessionRequest": {
        "model": _MODEL,
        "seed": _SEED,
        "ttl.seconds": _TTL_SECONDS,
        "ttl.nanos": _TTL_NANOS,
        "idempotency_key": _KEY,
    },
    "GetSessionRequest": {"session_id": _SESSION},
    "ListSessionsRequest": {
        "page_size": Number("at most 1,000", high=1000),
        "page_token": Text("at most 19 characters", high=19, letter="1"),
    },
    "DeleteSessionRequest": {"session_id": _SESSION, "expected_position": _EXPECTED, "preempt": _FLAG},
    "ForkSessionRequest": {
        "session_id": _SESSION,
        "count": Number("1 to 64. 0: 1", high=64),
        "seeds": Many("one each, from 0 to 2^64 - 1", high=1, item=7, each=_SEED),
        "expected_position": _EXPECTED,
        "idempotency_key": _KEY,
    },
    "RewindSessionRequest": {
        "session_id": _SESSION,
        "position": Number("up to 2^64 - 1", high=UINT64, otherwise=("REWIND_OUT_OF_RANGE",)),
        "expected_position": _EXPECTED,
        "preempt": _FLAG,
    },
    "ExportSnapshotRequest": {"session_id": _SESSION, "expected_position": _EXPECTED},
    "ImportSnapshotRequest": {
        "snapshot": Text("at most 1,000,000 bytes", high=1_000_000, otherwise=("SNAPSHOT_INVALID",)),
        "seed": _SEED,
        "ttl.seconds": _TTL_SECONDS,
        "ttl.nanos": _TTL_NANOS,
        "idempotency_key": _KEY,
        "accept_other_numerics": _FLAG,
    },
    "LoadModelRequest": {
        "bundle": Text("from 1 to 512 characters", low=1, high=512, known=(FOLDER,)),
        "sha256": _otherwise_any("INVALID_FIELD"),
    },
    "UnloadModelRequest": {
        "model": Text("from 1 to 128 characters", low=1, high=128, otherwise=("MODEL_NOT_FOUND",)),
        "sha256": _otherwise_any("MODEL_NOT_FOUND"),
        "grace.seconds": Number("0 to 86,400 s", high=86_400, otherwise=("MODEL_NOT_FOUND",)),
        "grace.nanos": Number("0 to 86,400 s", high=999_999_999, otherwise=("MODEL_NOT_FOUND",)),
    },
    "DrainRequest": {},
    "GetStatsRequest": {},
    "ListModelsRequest": {},
    "GetModelRequest": {"model": _MODEL},
}
"""By the name of the request and the path of the field."""
