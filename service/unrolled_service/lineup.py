"""The lanes of an engine: of what is served, of what is kept for those on it, and of encoders.

Bundles come and go between two slices. Runs on the engine's thread.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from unrolled_service.errors import ModelNotFound
from unrolled_service.graphs.program import Program
from unrolled_service.lanes.lane import Lane
from unrolled_service.lanes.sequence_lane import SequenceLane
from unrolled_service.lanes.text_lane import TextLane
from unrolled_service.models.bundle import Bundle
from unrolled_service.registry import Origin, Registry
from unrolled_service.settings import Settings


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


class Lineup:
    """The lanes, and the sessions on them.

    Args:
        settings: limits.
        clock: monotonic seconds.
        origin: marks what is made here.

    Attributes:
        lanes: of what is served, by the names of the bundles; another mapping after every change.
        every_lane: these, and those that are kept for the sessions and streams on them, by key; likewise.
        registry: the sessions.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float], origin: Origin) -> None:
        self.lanes: Mapping[str, Lane] = {}
        self.every_lane: Mapping[str, Lane] = {}
        self.registry = Registry(settings, clock, origin)
        self._encoders: dict[str, SequenceLane] = {}
        self._turns: list[Lane] = []

    @property
    def streams(self) -> int:
        """Calls that were submitted and not closed."""
        return sum(lane.streams for lane in self.every_lane.values())

    @property
    def is_crowded(self) -> bool:
        """Whether a lane has more rows than may run. Any thread may ask."""
        return any(lane.scheduler.is_crowded for lane in self._turns)

    @property
    def turns(self) -> Sequence[Lane]:
        """Everything that takes turns: the lanes of cells, and of encoders. Any thread may look."""
        return tuple(self._turns)

    def add(self, made: Lanes) -> None:
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

    def lane(self, model: str) -> Lane:
        """Return the lane of a bundle, by name or by key; of the only one if ``model`` is empty.

        Raises:
            ModelNotFound: there is none of that name, or the empty name is ambiguous.
        """
        lanes, every_lane = self.lanes, self.every_lane
        found = lanes.get(model) or every_lane.get(model)
        if found is not None:
            check_stays(found)
            return found
        if not lanes:
            raise ModelNotFound("no model is served")
        if model:
            raise ModelNotFound(f"no model {model.partition('@')[0]!r} is served; there are: {', '.join(lanes)}")
        if len(lanes) > 1:
            raise ModelNotFound(f"several models are served, name one of: {', '.join(lanes)}")
        return next(iter(lanes.values()))


def check_stays(lane: Lane) -> None:
    """Refuse what would begin on a lane that goes away.

    Raises:
        ModelNotFound
    """
    if lane.is_leaving:
        raise ModelNotFound(f"the model {lane.bundle.name!r} is being unloaded")
