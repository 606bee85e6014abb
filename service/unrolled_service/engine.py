"""The engine: lanes, the sessions and streams on them, and whose turn it is.

Everything up to here runs on one thread, in a plain loop: no asyncio, no gRPC, no locks.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from unrolled_service.errors import (
    Draining,
    InvalidField,
    ModelMismatch,
    ModelNotFound,
    QueueFull,
    SessionBusy,
)
from unrolled_service.graphs.program import Program
from unrolled_service.graphs.state import Floats
from unrolled_service.lanes.lane import Lane
from unrolled_service.lanes.sequence_lane import SequenceLane
from unrolled_service.lanes.text_lane import TextLane
from unrolled_service.models import abilities
from unrolled_service.models.bundle import Bundle
from unrolled_service.registry import Origin, Registry, check_position
from unrolled_service.rows.delivery import Delivery, Sink
from unrolled_service.rows.drawing import Drawing
from unrolled_service.rows.generation import Generation
from unrolled_service.rows.reading import Reading, ReadingRow
from unrolled_service.rows.row import Row
from unrolled_service.rows.scoring import ScoreRow, Scoring
from unrolled_service.rows.sequence_row import Inputs
from unrolled_service.rows.slice import Slice
from unrolled_service.rows.source import Source
from unrolled_service.rows.stream import Stream
from unrolled_service.sessions.session import Session, make_seed
from unrolled_service.settings import Settings
from unrolled_service.snapshots.snapshot import Content
from unrolled_service.tenants.occupancy import Occupancy
from unrolled_service.tenants.terms import NOBODY, Terms

_RETRY_AFTER_S = 1.0


class SliceFailed(Exception):
    """A slice broke off; the argument is the key of the lane, the cause says why."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """What an engine needs to serve one bundle; made on any thread.

    Attributes:
        cell: of its cell.
        encoder: of its encoder, if it has one.
    """

    cell: Lane
    encoder: SequenceLane | None


def make_lanes(bundle: Bundle, settings: Settings) -> Lanes:
    """Make room for a bundle's sessions and rows."""
    cell = (
        TextLane(bundle, bundle.program, settings)
        if isinstance(bundle.program, Program)
        else SequenceLane(bundle, bundle.program, settings)
    )
    return Lanes(cell, SequenceLane(bundle, bundle.encoder.program, settings) if bundle.encoder else None)


class Engine:
    """Holds the lanes and the sessions, and advances the lanes in turn, a slice at a time.

    Args:
        bundles: what to serve; their names differ.
        settings: limits.
        clock: monotonic seconds.
        mark: last character of the session ids made here; tells engines apart.
        serials: numbers sessions in the order of creation, across engines.

    Attributes:
        lanes: of what is served, by the names of the bundles; another mapping after every change.
        every_lane: these, and those that are kept for the sessions and streams on them, by key; likewise.
        registry: the sessions.
        is_draining: new work is refused.
    """

    def __init__(
        self,
        bundles: Iterable[Bundle],
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        *,
        mark: str = "0",
        serials: Iterator[int] | None = None,
    ) -> None:
        self.lanes: Mapping[str, Lane] = {}
        self.every_lane: Mapping[str, Lane] = {}
        self._encoders: dict[str, SequenceLane] = {}
        self.registry = Registry(settings, clock, Origin(mark, count(1) if serials is None else serials))
        self.is_draining = False
        self._settings = settings
        self._clock = clock
        self._turns: list[Lane] = []
        for bundle in bundles:
            self.add(make_lanes(bundle, settings))

    @property
    def streams(self) -> int:
        """Calls that were submitted and not closed."""
        return sum(lane.streams for lane in self.every_lane.values())

    @property
    def turns(self) -> Sequence[Lane]:
        """Everything that takes turns: the lanes of cells, and of encoders. Any thread may look."""
        return tuple(self._turns)

    def add(self, made: "Lanes") -> None:
        """Serve one more bundle. The one that had its name is kept for the sessions and streams that it has."""
        lane = made.cell
        if lane.key in self.every_lane:  # of old, and asked for again
            lane = self.every_lane[lane.key]
            lane.is_leaving = False
        else:
            self.registry.add_lane(lane)
            self._turns.append(lane)
            if made.encoder is not None:
                self._encoders[lane.key] = made.encoder
                self._turns.append(made.encoder)
        self.every_lane = {**self.every_lane, lane.key: lane}
        self.lanes = {**self.lanes, lane.bundle.name: lane}

    def leave(self, key: str) -> int:
        """Take no new rows of a bundle, and end its idle sessions; return how many. ``sweep`` ends the others."""
        lane = self.every_lane.get(key)
        if lane is None:
            return 0
        lane.is_leaving = True
        self.lanes = {name: each for name, each in self.lanes.items() if each is not lane}
        return self.registry.give_up(lane)

    def sweep(self) -> int:
        """Drop the lanes that are served no more and have nothing left; return how many sessions were given up."""
        given_up = 0
        for lane in [lane for lane in self.every_lane.values() if self.lanes.get(lane.bundle.name) is not lane]:
            if lane.is_leaving:
                given_up += self.registry.give_up(lane)
            if not (lane.streams or lane.sessions):
                self._drop(lane)
        return given_up

    def _drop(self, lane: Lane) -> None:
        gone = {lane, self._encoders.pop(lane.key, lane)}
        self._turns = [each for each in self._turns if each not in gone]
        self.every_lane = {key: each for key, each in self.every_lane.items() if each is not lane}
        self.registry.drop_lane(lane)

    def slice(self, before_run: Callable[[], None] = lambda: None) -> Slice | None:
        """Advance the next lane that has a row to run; return None if none has.

        Args:
            before_run: called just before the lane's program runs; the moment to wake other threads.

        Raises:
            SliceFailed: a defect; the streams of the model it names cannot go on.
        """
        for i, lane in enumerate(self._turns):
            try:
                done = lane.slice(self._clock(), before_run)
            except Exception as error:
                raise SliceFailed(lane.key) from error
            if done:
                self._turns = self._turns[i + 1 :] + self._turns[: i + 1]
                return done
        return None

    def lane(self, model: str) -> Lane:
        """Return the lane of a bundle, by name or by key; of the only one if ``model`` is empty.

        Raises:
            ModelNotFound: there is none of that name, or the empty name is ambiguous.
        """
        lanes, every_lane = self.lanes, self.every_lane
        found = lanes.get(model) or every_lane.get(model)
        if found is not None:
            _check_stays(found)
            return found
        if not lanes:
            raise ModelNotFound("no model is served")
        if model:
            raise ModelNotFound(f"no model {model.partition('@')[0]!r} is served; there are: {', '.join(lanes)}")
        if len(lanes) > 1:
            raise ModelNotFound(f"several models are served, name one of: {', '.join(lanes)}")
        return next(iter(lanes.values()))

    def bundle_of(self, session_id: str, model: str, *, owner: str = "") -> Bundle:
        """Return the bundle of a call on a session of an owner: the session's, unless the call names another one.

        Raises:
            SessionNotFound, SessionExpired, SessionEvicted, ModelNotFound
        """
        session = self.session(session_id, owner=owner)
        lane = self.registry.lane_of(session) if model in ("", session.model) else self.lane(model)
        return lane.bundle

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
        fed = _behind_start(lane.bundle, position, generation.prompt)
        if not position and not len(fed):
            field = "prompt" if abilities.gives_tokens(lane.bundle) else "prompt_vectors"
            raise InvalidField(field, "must not be empty at position 0: there is nothing to continue")
        first = _first_state(lane.bundle, position, generation.condition)
        row = self._make_row(lane, generation, fed, sink, session, arrived)
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
        fed = _behind_start(lane.bundle, 0, generation.prompt)
        row = self._make_row(lane, generation, fed, sink, None, arrived, source_inputs=len(source))

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
        first = _first_state(lane.bundle, 0, scoring.condition)
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
            raise QueueFull(f"all {limits.max_streams} places for streams are taken", retry_after_s=_RETRY_AFTER_S)
        if places.total >= limits.max_rows and not scheduler.may_wait(tenant, steps, limits.max_waiting_tokens):
            raise QueueFull(
                f"{scheduler.waiting_steps} tokens wait; with {steps} more there would be more than"
                f" {limits.max_waiting_tokens}",
                retry_after_s=_RETRY_AFTER_S,
            )

    def seconds_to_wake(self) -> float | None:
        """Return the seconds until there is something to do if nothing happens before, or None."""
        now = self._clock()
        waits_s = [self.registry.seconds_to_expiry(), *(lane.scheduler.seconds_to_rouse(now) for lane in self._turns)]
        return min((wait_s for wait_s in waits_s if wait_s is not None), default=None)

    def close(self, row: Row) -> None:
        """End a row, finished or not; its session is left at the last delivered position."""
        if row.is_closed:
            return
        row.is_closed = True
        self.every_lane[row.lane].release(row)
        if row.source:
            self._encoders[row.lane].release(row.source)
        if row.session:
            self.registry.use(row.session)

    def fail(self, error: Exception, *, key: str | None = None) -> list[Delivery]:
        """Stop computing every stream, or those of one lane; return the news for their callers."""
        lanes = [lane for lane in self._turns if key in (None, lane.key)]
        news = []
        for lane in lanes:
            for stream in list(lane.scheduler):
                lane.stop(stream)
                stream.state = None  # it may have taken tokens that the stream does not know of
                news.append(Delivery(stream.sink, "", stream.sent, error=error))
        return news

    def session(self, session_id: str, *, owner: str = "") -> Session:
        """Return a session of an owner; a stream on it that is over is closed first. Others' sessions do not exist.

        Raises:
            SessionNotFound, SessionExpired, SessionEvicted
        """
        session = self.registry.find(session_id, owner=owner)
        if session.row and session.row.is_over:
            self.close(session.row)
        return session

    def create_session(self, model: str, *, seed: int | None, ttl_s: float | None, owner: str = "") -> Session:
        """Make a session at the zero state.

        Args:
            model: name of the bundle; empty for the only one.
            seed: seed of its draws; None draws one.
            ttl_s: idle time to keep it for; None takes the default.
            owner: the tenant whose it is.

        Raises:
            ModelNotFound, TaskMismatch, SlotsExhausted, Draining: nothing was done.
        """
        self._check_open()
        lane = self.lane(model)
        abilities.check_sessions(lane.bundle)
        return self.registry.create(lane, seed=seed, ttl_s=ttl_s, owner=owner)

    def fork_session(
        self, session_id: str, seeds: list[int | None], *, expected: int | None = None, owner: str = ""
    ) -> list[Session]:
        """Make a session for each seed, None for the same one, that begins where another one is.

        Raises:
            SessionNotFound, SessionExpired, SessionEvicted, PositionMismatch, SlotsExhausted, Draining: nothing
                was done.
        """
        self._check_open()
        session = self.session(session_id, owner=owner)
        _check_stays(self.registry.lane_of(session))
        check_position(session.position, expected)
        return self.registry.fork(session, seeds)

    def rewind_session(
        self, session_id: str, position: int, *, expected: int | None = None, owner: str = ""
    ) -> Session:
        """Take a session back to a position that it had.

        Raises:
            SessionNotFound, SessionExpired, SessionEvicted, PositionMismatch, SessionBusy, RewindOutOfRange: nothing
                was done.
        """
        session = self.session(session_id, owner=owner)
        check_position(session.position, expected)
        self.registry.rewind(session, position)
        return session

    def take_out_session(self, session_id: str, *, expected: int | None = None, owner: str = "") -> Content:
        """Return everything that a session's text depends on.

        Raises:
            SessionNotFound, SessionExpired, SessionEvicted, PositionMismatch
        """
        session = self.session(session_id, owner=owner)
        check_position(session.position, expected)
        return self.registry.take_out(session)

    def put_in_session(self, content: Content, *, seed: int | None, ttl_s: float) -> Session:
        """Make a session of what ``take_out_session`` gave, here or elsewhere.

        Raises:
            SlotsExhausted, Draining: nothing was done.
        """
        self._check_open()
        return self.registry.put_in(content, seed=seed, ttl_s=ttl_s)

    def check_idle(self, session_id: str, *, expected: int | None = None, owner: str = "") -> None:
        """Refuse what ``delete_session`` would refuse, and do nothing.

        Raises:
            SessionNotFound, SessionExpired, SessionEvicted, PositionMismatch, SessionBusy
        """
        session = self.session(session_id, owner=owner)
        check_position(session.position, expected)
        if session.row:
            raise SessionBusy

    def delete_session(self, session_id: str, *, expected: int | None = None, owner: str = "") -> None:
        """End a session.

        Raises:
            SessionNotFound, SessionExpired, SessionEvicted, PositionMismatch, SessionBusy: nothing was done.
        """
        self.check_idle(session_id, expected=expected, owner=owner)
        self.registry.remove(self.session(session_id, owner=owner))

    def _open(
        self, model: str, session_id: str | None, expected_position: int | None, method: str, owner: str = ""
    ) -> tuple[Lane, Session | None]:
        """Return the lane and the session of a call."""
        self._check_open()
        session = self.session(session_id, owner=owner) if session_id else None
        lane = self.registry.lane_of(session) if session and not model else self.lane(model)
        _check_stays(lane)
        abilities.check_method(lane.bundle, method)
        if session:
            _check_session(session, lane)
        check_position(session.position if session else 0, expected_position)
        return lane, session

    def _make_row(
        self,
        lane: Lane,
        generation: Generation,
        fed: Inputs,
        sink: Sink,
        session: Session | None,
        arrived: float | None,
        *,
        source_inputs: int = 0,
    ) -> Stream | Drawing:
        bundle, arrived = lane.bundle, self._clock() if arrived is None else arrived
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
            vocabulary_size=len(bundle.vocabulary),
            session=session,
            seed=seed,
            arrived=arrived,
            source_inputs=source_inputs,
        )

    def _check_open(self) -> None:
        if self.is_draining:
            raise Draining


def _check_stays(lane: Lane) -> None:
    if lane.is_leaving:
        raise ModelNotFound(f"the model {lane.bundle.name!r} is being unloaded")


def _check_session(session: Session, lane: Lane) -> None:
    if session.lane != lane.key:
        other = f"{lane.bundle.name!r}" if session.model != lane.bundle.name else "the bundle of that name served now"
        raise ModelMismatch(f"the session belongs to {session.model!r}, not to {other}")
    if session.row:
        raise SessionBusy


def _behind_start(bundle: Bundle, position: int, prompt: Inputs) -> NDArray[np.generic]:
    """Return what is fed from a position on: at position 0 the bundle's start comes first."""
    return prompt if position else np.concatenate([abilities.start(bundle), prompt])


def _first_state(bundle: Bundle, position: int, condition: Floats | None) -> Floats | None:
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
