"""One row of the table: a served figure and its roofs, measured in turns, several times."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from statistics import median

from bench.cells import Shape
from bench.journal import Report
from bench.load import LENGTH, Plan
from bench.processes import run_load
from bench.roofs import Pace, engine_loop, program_loop
from tests.support.server import ServerProcess
from unrolled_service.models.bundle import Bundle

ENGINE_ROWS = 64
_OPEN_LOOP_SHARE = 0.7


@dataclass(frozen=True)
class Windows:
    """How long and how often to measure.

    Attributes:
        repetitions: turns of roofs and served figure.
        roof_s: each bare loop.
        warm_up_s: of the load, before its window.
        load_s: window of the load.
        null_s: window of the load on the null server.
    """

    repetitions: int
    roof_s: float
    warm_up_s: float
    load_s: float
    null_s: float


@dataclass(frozen=True)
class Cell:
    """A reference cell in one precision, as it is measured.

    Attributes:
        shape: its shape.
        precision: of the bundle.
        bundle: for the bare loops.
        stock_loop: R0 of its shape, always in fp32.
        server: what serves it.
        null_address: of the null server.
    """

    shape: Shape
    precision: str
    bundle: Bundle
    stock_loop: Callable[[int, float], Pace]
    server: ServerProcess
    null_address: str


@dataclass(frozen=True)
class Row:
    """Medians over the repetitions; a ratio is the median of the repetitions' ratios.

    Attributes:
        cell, precision, streams: what was measured.
        r0, r1, rt: characters per second of the roofs.
        engine: steps per second of the engine alone, only at 64 streams.
        r0_cpu_s_per_1000_chars: CPU of the stock loop.
        served: the closed loop.
        open_loop: the open loop, only at 64 streams.
        ratios: by name.
    """

    cell: str
    precision: str
    streams: int
    r0: float
    r1: float
    rt: float
    engine: float | None
    r0_cpu_s_per_1000_chars: float
    served: Report
    open_loop: Report | None
    ratios: dict[str, float]


@dataclass(frozen=True)
class _Turn:
    r0: Pace
    r1: Pace
    engine: Pace | None
    served: Report
    rt: float

    def ratios(self, streams: int) -> dict[str, float]:
        served = self.served
        found = {
            "served/R0": served.chars_per_s / self.r0.steps_per_s,
            "served/R1": served.chars_per_s / self.r1.steps_per_s,
            "served/RT": served.chars_per_s / self.rt,
            "CPU/R0": served.server_cpu_s_per_1000_chars / self.r0.cpu_s_per_1000_steps,
            "first/step": served.first_p50_s * self.r1.steps_per_s / streams,
        }
        if self.engine:
            found["engine/R1"] = self.engine.steps_per_s / self.r1.steps_per_s
        return found


def measure_row(cell: Cell, streams: int, windows: Windows) -> Row:
    """Measure a row.

    Raises:
        LoadFailed: a generation was not what it should be.
    """
    turns = [_measure_turn(cell, streams, windows) for _ in range(windows.repetitions)]
    served = merge([turn.served for turn in turns])
    ratios = [turn.ratios(streams) for turn in turns]
    engines = [turn.engine.steps_per_s for turn in turns if turn.engine]
    rate = _OPEN_LOOP_SHARE * served.chars_per_s / LENGTH
    return Row(
        cell=str(cell.shape),
        precision=cell.precision,
        streams=streams,
        r0=median(turn.r0.steps_per_s for turn in turns),
        r1=median(turn.r1.steps_per_s for turn in turns),
        rt=median(turn.rt for turn in turns),
        engine=median(engines) if engines else None,
        r0_cpu_s_per_1000_chars=median(turn.r0.cpu_s_per_1000_steps for turn in turns),
        served=served,
        open_loop=run_load(_plan(cell, windows, rate=rate)) if streams == ENGINE_ROWS else None,
        ratios={name: median(each[name] for each in ratios) for name in ratios[0]},
    )


def merge(reports: list[Report]) -> Report:
    """Return the medians of several reports; generations and faults are added up."""
    values = {
        field.name: median(getattr(report, field.name) for report in reports)
        for field in fields(Report)
        if field.name not in {"generations", "faults"}
    }
    faults = [fault for report in reports for fault in report.faults]
    return Report(**values, generations=sum(report.generations for report in reports), faults=faults)


def run_null_load(null_address: str, streams: int, chars_per_message: float, windows: Windows) -> float:
    """Return characters per second of the null server with messages of about this size (RT)."""
    pieces = max(1, round(LENGTH / chars_per_message))
    plan = Plan(null_address, streams, warm_up_s=windows.warm_up_s / 2, seconds=windows.null_s, model=str(pieces))
    return run_load(plan).chars_per_s


def _measure_turn(cell: Cell, streams: int, windows: Windows) -> _Turn:
    """Measure a served figure between its roofs, for the machine changes within seconds."""
    r0 = cell.stock_loop(streams, windows.roof_s)
    r1 = program_loop(cell.bundle, streams, windows.roof_s)
    served = run_load(_plan(cell, windows, streams=streams))
    engine = engine_loop(cell.bundle, ENGINE_ROWS, windows.roof_s) if streams == ENGINE_ROWS else None
    r1 = r1.mean(program_loop(cell.bundle, streams, windows.roof_s))
    r0 = r0.mean(cell.stock_loop(streams, windows.roof_s))
    rt = run_null_load(cell.null_address, streams, served.chars_per_message, windows)
    return _Turn(r0, r1, engine, served, rt)


def _plan(cell: Cell, windows: Windows, *, streams: int = 0, rate: float = 0.0) -> Plan:
    return Plan(
        cell.server.address,
        streams,
        rate=rate,
        warm_up_s=windows.warm_up_s,
        seconds=windows.load_s,
        server_pid=cell.server.process.pid,
    )
