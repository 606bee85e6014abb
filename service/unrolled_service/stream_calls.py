"""Calls that run on lanes: each is checked, becomes a row and gets a place, or nothing is done.

Runs on the engine's thread; ``check_place`` may be asked on any.
"""

from collections.abc import Callable

from unrolled_service.errors import InvalidField, QueueFull
from unrolled_service.graphs.state import Floats
from unrolled_service.lanes.lane import Lane
from unrolled_service.lanes.sequence_lane import SequenceLane
from unrolled_service.lineup import check_stays
from unrolled_service.models import abilities
from unrolled_service.opening import behind_start, check_session, first_state, make_row
from unrolled_service.registry import Origin, check_position
from unrolled_service.rows.delivery import Sink
from unrolled_service.rows.generation import Generation
from unrolled_service.rows.reading import Reading, ReadingRow
from unrolled_service.rows.row import Row
from unrolled_service.rows.scoring import ScoreRow, Scoring
from unrolled_service.rows.sequence_row import Inputs
from unrolled_service.rows.source import Source
from unrolled_service.session_calls import SessionCalls
from unrolled_service.sessions.session import Session
from unrolled_service.settings import Settings
from unrolled_service.tenants.occupancy import Occupancy
from unrolled_service.tenants.terms import NOBODY, Terms

_RETRY_AFTER_S = 1.0


def no_place(limit: int) -> QueueFull:
    """Return the refusal of a call where so many places are taken."""
    return QueueFull(f"all {limit} places for streams are taken", retry_after_s=_RETRY_AFTER_S)


class StreamCalls(SessionCalls):
    """Begins calls, with a session or without one.

    The arguments are those of ``Lineup``.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float], origin: Origin) -> None:
        super().__init__(settings, clock, origin)
        self._settings = settings
        self._clock = clock

    def submit(
        self,
        model: str,
        generation: Generation,
        sink: Sink,
        *,
        arrived: float | None = None,
        owner: str = "",
        terms: Terms = NOBODY,
    ) -> Row:
        """Begin a stream; what it gives goes to the sink. ``close`` must follow, however it ends.

        Args:
            model: name of the bundle; empty for the session's, or for the only one.
            generation: the checked request.
            sink: where the text, or the vectors, go.
            arrived: when the request came in, by the engine's clock; None for now.
            owner: the tenant who asks: its session is meant.
            terms: on whose account.

        Raises:
            ModelNotFound, TaskMismatch, SessionNotFound, SessionExpired, SessionBusy, ModelMismatch,
            PositionMismatch, InvalidField, QueueFull, Draining: nothing was done.
        """
        asked = generation.session_id, generation.expected_position
        lane, session = self._open(model, *asked, abilities.GENERATE, owner)
        position = session.position if session else 0
        fed = behind_start(lane, position, generation.prompt)
        if not position and not len(fed):
            field = "prompt" if abilities.gives_tokens(lane.bundle) else "prompt_vectors"
            raise InvalidField(field, "must not be empty at position 0: there is nothing to continue")
        first = first_state(lane.bundle, position, generation.condition)
        row = make_row(lane, generation, fed, sink, session, self._clock() if arrived is None else arrived)
        row.terms = terms
        self.check_place(lane, row.steps_left, tenant=terms.tenant)
        lane.admit(row, first)
        if session:
            self.registry.use(session)
        return row

    def submit_transduction(
        self,
        model: str,
        source: Inputs,
        generation: Generation,
        sink: Sink,
        *,
        arrived: float | None = None,
        terms: Terms = NOBODY,
    ) -> Row:
        """Begin a transduction; its target goes to the sink. ``close`` must follow, however it ends.

        Args:
            model: name of the bundle; empty for the only one.
            source: what the encoder reads.
            generation: how the decoder goes on from the context; without prompt, session and condition.
            sink: where the target goes.
            arrived: when the request came in, by the engine's clock; None for now.
            terms: on whose account.

        Raises:
            ModelNotFound, TaskMismatch, QueueFull, Draining: nothing was done.
        """
        lane, _ = self._open(model, None, None, abilities.TRANSDUCE)
        encoder, reader = lane.bundle.encoder, self._encoders[lane.key]
        fed = behind_start(lane, 0, generation.prompt)
        arrived = self._clock() if arrived is None else arrived
        row = make_row(lane, generation, fed, sink, None, arrived, source_inputs=len(source))

        def start(context: Floats) -> None:
            if encoder is not None and not row.is_closed:
                lane.begin(row, encoder.bridge(context))

        row.source = Source(source, sink, start, lane=lane.key, arrived=row.arrived)
        row.terms = row.source.terms = terms
        self.check_place(lane, row.steps_left + row.source.steps_left, tenant=terms.tenant)
        lane.reserve(row)
        reader.admit(row.source)
        return row

    def submit_reading(
        self,
        model: str,
        reading: Reading,
        sink: Sink,
        *,
        arrived: float | None = None,
        owner: str = "",
        terms: Terms = NOBODY,
    ) -> ReadingRow:
        """Begin a reading; its answers go to the sink. ``feed`` and ``end`` follow, and ``close``, however it ends.

        The arguments are those of ``submit``.

        Raises:
            ModelNotFound, TaskMismatch, SessionNotFound, SessionExpired, SessionBusy, ModelMismatch,
            PositionMismatch, QueueFull, Draining: nothing was done.
        """
        method = abilities.STEP if reading.is_stepwise else abilities.CLASSIFY
        lane, session = self._open(model, reading.session_id, reading.expected_position, method, owner)
        arrived = self._clock() if arrived is None else arrived
        row = ReadingRow(reading, sink, lane=lane.key, session=session, arrived=arrived)
        row.terms = terms
        self.check_place(lane, tenant=terms.tenant)
        lane.admit(row)
        if session:
            self.registry.use(session)
        return row

    def feed(self, row: ReadingRow, inputs: Inputs) -> None:
        """Give a reading further inputs; nothing happens if it is closed."""
        if not row.is_closed:
            row.feed(inputs)
            self.every_lane[row.lane].scheduler.feed(row)

    def end(self, row: ReadingRow, *, is_refused: bool = False) -> None:
        """Tell a reading that no more inputs come, or that they were refused; nothing happens if it is closed."""
        if row.is_closed:
            return
        row.end(is_refused=is_refused)
        lane = self.every_lane[row.lane]
        if row.is_finished and isinstance(lane, SequenceLane):
            lane.end(row)

    def submit_scoring(self, model: str, scoring: Scoring, sink: Sink, *, terms: Terms = NOBODY) -> ScoreRow:
        """Begin a scoring; its result goes to the sink. ``close`` must follow, however it ends.

        Raises:
            ModelNotFound, TaskMismatch, InvalidField, QueueFull, Draining: nothing was done.
        """
        lane, _ = self._open(model, None, None, abilities.SCORE)
        first = first_state(lane.bundle, 0, scoring.condition)
        row = ScoreRow(scoring, sink, lane=lane.key, arrived=self._clock())
        row.terms = terms
        self.check_place(lane, row.steps_left, tenant=terms.tenant)
        lane.admit(row, first)
        return row

    def check_place(self, lane: Lane, steps: int = 0, *, tenant: str = "", places: Occupancy | None = None) -> None:
        """Refuse a call for which there is no place. Any thread may ask.

        Args:
            lane: where it is to run.
            steps: inputs that it is fed and outputs that it gives at most, as far as that is known.
            tenant: whose it is.
            places: the calls that run or wait there; None for those that the engine knows of.

        Raises:
            QueueFull, Draining
        """
        self._check_open()
        limits, scheduler = self._settings, lane.scheduler
        places = lane.places if places is None else places
        if not places.has_room(tenant, limits.max_streams):
            raise no_place(limits.max_streams)
        if places.total >= limits.max_rows and not scheduler.may_wait(tenant, steps, limits.max_waiting_tokens):
            raise QueueFull(
                f"{scheduler.waiting_steps} tokens wait; with {steps} more there would be more than"
                f" {limits.max_waiting_tokens}",
                retry_after_s=_RETRY_AFTER_S,
            )

    def _open(
        self, model: str, session_id: str | None, expected_position: int | None, method: str, owner: str = ""
    ) -> tuple[Lane, Session | None]:
        """Return the lane and the session of a call."""
        self._check_open()
        session = self.session(session_id, owner=owner) if session_id else None
        lane = self.registry.lane_of(session) if session and not model else self.lane(model)
        check_stays(lane)
        abilities.check_method(lane.bundle, method)
        if session:
            check_session(session, lane)
        check_position(session.position if session else 0, expected_position)
        return lane, session
