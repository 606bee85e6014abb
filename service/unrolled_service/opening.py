"""How a call begins: whether its session fits, what it is fed first, from which state, and the row that it becomes.

Knows a lane and a request, not the engine; nothing is changed here.
"""

import numpy as np
from numpy.typing import NDArray

from unrolled_service.errors import InvalidField, ModelMismatch, SessionBusy
from unrolled_service.graphs.state import Floats
from unrolled_service.lanes.lane import Lane
from unrolled_service.lanes.sequence_lane import SequenceLane
from unrolled_service.models.bundle import Bundle
from unrolled_service.rows.delivery import Sink
from unrolled_service.rows.drawing import Drawing
from unrolled_service.rows.generation import Generation
from unrolled_service.rows.sequence_row import Inputs
from unrolled_service.rows.stream import Stream
from unrolled_service.sessions.session import Session, make_seed


def check_session(session: Session, lane: Lane) -> None:
    """Refuse a session that is another lane's, or on which a stream runs.

    Raises:
        ModelMismatch, SessionBusy
    """
    if session.lane != lane.key:
        other = f"{lane.bundle.name!r}" if session.model != lane.bundle.name else "the bundle of that name served now"
        raise ModelMismatch(f"the session belongs to {session.model!r}, not to {other}")
    if session.row:
        raise SessionBusy


def behind_start(lane: Lane, position: int, prompt: Inputs) -> NDArray[np.generic]:
    """Return what is fed from a position on: at position 0 the bundle's start comes first."""
    return prompt if position or not len(lane.start) else np.concatenate([lane.start, prompt])


def first_state(bundle: Bundle, position: int, condition: Floats | None) -> Floats | None:
    """Return the state at position 0 that a condition sets, where the bundle has one.

    Raises:
        InvalidField: it is missing there, or given elsewhere.
    """
    if bundle.condition is None:
        if condition is not None:
            raise InvalidField("condition", f"must be unset: {bundle.name!r} has no condition")
        return None
    if position:
        if condition is not None:
            raise InvalidField("condition", f"must be unset at position {position}: it sets the state at position 0")
        return None
    if condition is None:
        raise InvalidField("condition", f"must be set at position 0: {bundle.name!r} needs one")
    return bundle.condition.begin(condition)


def make_row(
    lane: Lane,
    generation: Generation,
    fed: Inputs,
    sink: Sink,
    session: Session | None,
    arrived: float,
    *,
    source_inputs: int = 0,
) -> Stream | Drawing:
    """Return the row of a generation, drawn from its own seed, its session's, or a new one.

    Args:
        lane: where it is to run.
        generation: the checked request.
        fed: what it is fed before its own outputs.
        sink: where the outputs go.
        session: that it goes on with.
        arrived: when the request came in, engine time.
        source_inputs: inputs of the encoder, where there is one.
    """
    if isinstance(lane, SequenceLane):
        return Drawing(
            generation,
            fed,
            sink,
            lane=lane.key,
            session=session,
            arrived=arrived,
            source_inputs=source_inputs,
        )
    seed = generation.seed
    if seed is None:
        seed = session.seed if session else make_seed()
    return Stream(
        generation,
        fed,
        sink,
        lane=lane.key,
        vocabulary_size=len(lane.bundle.vocabulary),
        session=session,
        seed=seed,
        arrived=arrived,
        source_inputs=source_inputs,
    )
