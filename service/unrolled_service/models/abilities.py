"""What a bundle can do, and which method asks for it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.v1.bundle_pb2 import (
    TASK_CLASSIFY,
    TASK_GENERATE,
    TASK_TAG,
    TASK_TRANSDUCE,
)
from unrolled_service.errors import TaskMismatch
from unrolled_service.models.bundle import Bundle
from unrolled_service.models.shape import generates_tokens

GENERATE, SCORE = "GenerationService.Generate", "GenerationService.Score"
STEP, CLASSIFY = "SequenceService.Step", "SequenceService.Classify"
TRANSDUCE = "SequenceService.Transduce"
_METHODS = {TASK_GENERATE: GENERATE, TASK_CLASSIFY: CLASSIFY, TASK_TAG: STEP, TASK_TRANSDUCE: TRANSDUCE}
_LACKS = {
    GENERATE: "does not continue what it is fed",
    SCORE: "has no next tokens to predict",
    STEP: "does not answer inputs one by one",
    CLASSIFY: "does not answer a sequence as a whole",
    TRANSDUCE: "does not turn one sequence into another",
}


def check_method(bundle: Bundle, method: str) -> None:
    """Refuse what a bundle is not for.

    Raises:
        TaskMismatch: naming the method that fits.
    """
    fitting = _METHODS[bundle.manifest.task]
    is_fit = gives_tokens(bundle) and fitting == GENERATE if method == SCORE else fitting == method
    if not is_fit:
        raise TaskMismatch(bundle.name, fitting, _LACKS[method])


def check_sessions(bundle: Bundle) -> None:
    """Refuse a bundle that has nothing to keep from one call to the next.

    Raises:
        TaskMismatch: naming the method to call without a session.
    """
    if bundle.manifest.task == TASK_TRANSDUCE or not bundle.states:
        raise TaskMismatch(bundle.name, _METHODS[bundle.manifest.task], "keeps no sessions")


def gives_tokens(bundle: Bundle) -> bool:
    """Return whether outputs are tokens that are fed back."""
    return generates_tokens(bundle.manifest)


def start(bundle: Bundle) -> NDArray[Any]:
    """Return what is fed before anything else at position 0: int64[N] or f32[N, F], N 0 or 1."""
    feedback, width = bundle.manifest.feedback, bundle.manifest.input.width
    if gives_tokens(bundle):
        return np.array([feedback.start_token] if feedback.HasField("start_token") else [], np.int64)
    if not bundle.manifest.HasField("feedback"):
        return np.empty((0, width), np.float32)
    return np.array([list(feedback.start) or [0.0] * width], np.float32)


def end(bundle: Bundle) -> str | None:
    """Return the text of the token that ends what is generated, or None."""
    feedback = bundle.manifest.feedback
    return bundle.vocabulary.token(feedback.end_token) if feedback.HasField("end_token") else None
