"""One bundle with its sessions' states and its rows, and the slice that advances them.

A slice is five beats: choose, gather, run, deliver, settle. It runs on the engine's thread; news
leaves as ``Delivery`` values, and who carries them to the callers is somebody else's business. What the beats do
depends on what the rows give: tokens (``text_lane``) or anything else (``sequence_lane``).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

from unrolled_service.graphs.state import Floats
from unrolled_service.lanes.pace import Pace
from unrolled_service.lanes.scheduler import Scheduler
from unrolled_service.models import abilities
from unrolled_service.models.bundle import Bundle
from unrolled_service.rows.row import Mark, Row
from unrolled_service.rows.slice import Slice
from unrolled_service.sessions.history import Checkpoint, Format
from unrolled_service.sessions.residency import Residency
from unrolled_service.settings import Settings
from unrolled_service.tenants.occupancy import MOST, Occupancy

# What has left and not arrived is lost with the connection, and its reader goes back for it: 64 KiB of window at the
# client, twice that where a proxy is between.
IN_FLIGHT = 1 << 17
_COUNTED_INPUTS = 1024  # after so many at the latest a history that grows is counted again
STAGES = ("choose", "gather", "run", "deliver", "settle")


class Lane(ABC):
    """Rows of one bundle that advance together.

    Args:
        bundle: what is served.
        initial: f32[S], the state at position 0.
        pace: what is known of how long its slices take.
        settings: limits of rows, steps, streams and sessions.

    Attributes:
        key: tells it from the lanes of other bundles, also of that name.
        is_leaving: it takes no new rows.
        start: what is fed before anything else at position 0, of length 0 or 1.
        form: what its sessions' histories are made of.
        residency: where the sessions' states are.
        scheduler: which rows run.
        sessions: number of sessions.
        places: rows that were admitted and not released.
    """

    def __init__(self, bundle: Bundle, initial: Floats, pace: Pace, settings: Settings) -> None:
        self.bundle = bundle
        host = bundle.host
        self.key = host.key
        self.is_leaving = False
        self.start = abilities.start(bundle)
        self.form = Format(host.vocabulary_size, host.input_width, host.is_generative)
        self.residency = Residency(initial, max(settings.slots, MOST * settings.max_streams))
        self.scheduler = Scheduler(
            pace,
            max_rows=settings.max_rows,
            max_steps=settings.max_steps,
            slice_s=settings.slice_ms / 1000,
            pause_s=settings.pause_ms / 1000,
            credit=settings.credit,
            turn_s=settings.turn_s,
            ageing_s=settings.ageing_s,
        )
        self.sessions = 0
        self.places = Occupancy()
        self._record = Slice(bundle.name)

    @abstractmethod
    def slice(self, now: float, before_run: Callable[[], None]) -> Slice | None:
        """Advance every chosen row by up to K steps; return what was done, or None if no row wants to run.

        Args:
            now: engine time.
            before_run: called when everything is ready and the interpreter's lock is about to be let go.
        """

    def admit(self, row: Row, first: Floats | None = None) -> None:
        """Take in a row.

        Args:
            row: its state begins as its session's.
            first: f32[S], the state at position 0 where that is not the zero state.
        """
        self.reserve(row)
        if session := row.session:
            if first is not None:
                self.residency.begin(session, first)
            first = self.residency.state_of(session)
            self.residency.bring_in(session)
            session.row = row
        self.begin(row, first)

    @property
    def streams(self) -> int:
        """Number of rows that have a place."""
        return self.places.total

    def reserve(self, row: Row) -> None:
        """Keep a place for a row that is to begin later."""
        self.places.add(row.terms.tenant)

    def begin(self, row: Row, first: Floats | None = None) -> None:
        """Let a row run that has a place, from a state f32[S] or the zero state."""
        row.state = self.residency.initial if first is None else first
        self.scheduler.add(row)

    def stop(self, row: Row) -> None:
        """Compute no more of a row; it must still be released."""
        self._take_out(row)
        self.scheduler.remove(row)

    def release(self, row: Row) -> None:
        """Let go of a row, and of its session, which is left at the last delivered position."""
        self.places.remove(row.terms.tenant)
        self.stop(row)
        if session := row.session:
            newest = row.mark if row.state is None else Mark(row.consumed, row.state)
            for mark in (row.mark, newest):
                if mark is not None and row.can_advance_session(mark.position):
                    self._advance(row, mark)
            row.mark = None
            row.keep_delivered()
            session.row = None
            self.residency.rest(session)

    def _note_waits(self, joining: Sequence[Row], now: float) -> None:
        """Note how long rows have waited that run for the first time."""
        for row in joining:
            if row.chosen_at is None:
                row.chosen_at = now
                self._record.queue_waits_s.append(now - row.arrived)

    def _advance_sessions(self, rows: Iterable[Row]) -> None:
        """Let sessions follow to states whose text was delivered, so that whoever goes on has little to feed again.

        A row is nearly always ahead of its reader. So it marks a state, and the session takes that when the reader
        has come past it; then the row marks the next one.
        """
        for row in rows:
            if row.mark is not None and row.can_advance_session(row.mark.position):
                self._advance(row, row.mark, reach=IN_FLIGHT)
                row.mark = None
            if row.mark is None and row.session is not None and row.session.consumed < row.consumed:
                row.mark = Mark(row.consumed, self._state_of(row))

    @abstractmethod
    def _state_of(self, row: Row) -> Floats:
        """Return a copy of the state of a row that runs, f32[S]."""

    def _advance(self, row: Row, mark: Mark, *, reach: int = 0) -> None:
        """Give a row's session a state that it had; it can still be rewound by so many inputs."""
        if row.session is None:
            return
        before = row.session.consumed
        self.residency.write([row.session], mark.state[None])
        row.advance_session(mark.position)
        if row.session.history.wants_checkpoint(mark.position, reach=reach):
            self.residency.keep(row.session, Checkpoint(mark.position, mark.state.tobytes()))
        elif before // _COUNTED_INPUTS != mark.position // _COUNTED_INPUTS:
            self.residency.count(row.session)

    def _close_record(self, rows: int, steps: int, marks: Sequence[float]) -> Slice:
        """Return the record of the slice, whose beats lie between these moments, and begin the next one."""
        record, self._record = self._record, Slice(self.bundle.name)
        record.rows, record.steps = rows, steps
        record.stages_s = {name: marks[i + 1] - marks[i] for i, name in enumerate(STAGES)}
        if steps:
            self.scheduler.pace.learn(rows, steps, record.stages_s)
        return record

    def _take_out(self, row: Row) -> None:  # most rows stand nowhere else
        """Take a row out of the batch, with its state if that may still be needed."""
