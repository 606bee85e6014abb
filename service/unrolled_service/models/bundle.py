"""A bundle: read once, checked, and replayed before it is served."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from unrolled.v1.bundle_pb2 import Manifest
from unrolled_service.errors import BundleError
from unrolled_service.graphs.program import Program
from unrolled_service.graphs.rehearsal import rehearse_tokens
from unrolled_service.graphs.sequence_program import SequenceProgram
from unrolled_service.graphs.state import StateSpec
from unrolled_service.models.assembly import Assembly
from unrolled_service.models.beginning import Condition, Encoder
from unrolled_service.models.contents import GOLDEN, Contents, read_contents
from unrolled_service.models.golden import RunDiffers
from unrolled_service.models.limits import Limits
from unrolled_service.models.probe import is_independent, measure_numerics
from unrolled_service.models.shape import CELL, is_generative
from unrolled_service.models.vocabulary import Vocabulary
from unrolled_service.settings import Precision
from unrolled_service.snapshots.snapshot import Host

_TRIALS, _TRIAL_ROWS, _TRIAL_STEPS = 5, 64, 16
_WORTHWHILE = 1.2
_UNASKED_LOSS = 0.01  # nats per character, which the export refuses too unless it is told to accept more
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that has proved itself.

    Attributes:
        name: what callers ask for.
        sha256: identity, of the manifest file, which names the sha256 of the others.
        manifest: as written.
        vocabulary: its tokens; none where the cell neither takes nor gives tokens.
        states: its state tensors; none where a step knows of no other one.
        program: its cell, ready to run: with the sampler where it generates tokens, else over sequences.
        precision: which form of the cell that is: "fp32", or that of a variant.
        host: what continues a session's state, for snapshots.
        condition: what sets the state at position 0, if a condition does.
        encoder: what reads the source, if there is one.
        passed_over: forms of the cell that were not considered, because this machine does not repeat their golden runs.
    """

    name: str
    sha256: str
    manifest: Manifest
    vocabulary: Vocabulary
    states: tuple[StateSpec, ...]
    program: Program | SequenceProgram
    precision: str
    host: Host
    condition: Condition | None = None
    encoder: Encoder | None = None
    passed_over: tuple[str, ...] = ()


def load_bundle(folder: Path, precision: Precision = "auto", limits: Limits | None = None) -> Bundle:
    """Read, check and replay a bundle in this process: one that is trusted not to be made against the runtime.

    Args:
        folder: where it lies.
        precision: "fp32" or "int8" for that form of the cell; "auto" for the one that is faster here.
        limits: how large and how odd it may be; None for the usual ones.

    Raises:
        BundleError: naming the file and what is wrong with it, or that there is no such form.
    """
    limits = limits or Limits()
    return make_bundle(read_contents(folder, precision, limits), precision, limits)


def make_bundle(contents: Contents, precision: Precision, limits: Limits) -> Bundle:
    """Check and replay a bundle that was read; else as ``load_bundle``."""
    manifest, sha256 = contents.manifest, contents.sha256
    assembly = Assembly(contents, limits)
    chosen, program, passed_over = _choose(assembly, precision)
    size = len(manifest.vocabulary)
    _warn_of_rounding(contents.place, "cell", program, size)
    if assembly.encoder:
        _warn_of_rounding(contents.place, "encoder", assembly.encoder.program, len(assembly.encoder.vocabulary))
    host = Host(
        model=manifest.name,
        model_sha256=bytes.fromhex(sha256),
        precision=chosen,
        numerics=measure_numerics(program, size),
        state_size=len(program.initial),
        vocabulary_size=size,
        input_width=manifest.input.width,
        is_generative=is_generative(manifest),
    )
    return Bundle(
        name=manifest.name,
        sha256=sha256,
        manifest=manifest,
        vocabulary=Vocabulary(manifest.vocabulary),
        states=assembly.states,
        program=program,
        precision=chosen,
        host=host,
        condition=assembly.condition,
        encoder=assembly.encoder,
        passed_over=passed_over,
    )


def _warn_of_rounding(place: str, part: str, program: Program | SequenceProgram, vocabulary_size: int) -> None:
    """Say where rows differ in the last bits: in a bundle that was assembled they do in nothing more."""
    if not is_independent(program, vocabulary_size):
        _log.warning("%s: the %s's last bits depend on what runs beside a row; seeded outputs may too", place, part)


def _choose(assembly: Assembly, precision: Precision) -> tuple[str, Program | SequenceProgram, tuple[str, ...]]:
    """Return the form of the cell that is asked for, and those passed over.

    In doubt it is fp32: the others must be clearly faster.
    """
    place = assembly.place
    files = {"fp32": (CELL, GOLDEN)} | {form.precision: (form.cell, form.golden) for form in assembly.manifest.variants}
    if precision != "auto":
        if precision not in files:
            raise BundleError(f"{place}: has no {precision} variant, only {', '.join(files)}")
        return precision, assembly.prove(*files[precision]), ()
    fp32 = assembly.prove(*files.pop("fp32"))
    if not files or not isinstance(fp32, Program):
        return "fp32", fp32, ()
    programs = {"fp32": fp32}
    passed_over: tuple[str, ...] = ()
    for form in assembly.manifest.variants:
        name, loss = form.precision, form.evaluation.nats_per_char - form.baseline.nats_per_char
        try:
            program = assembly.prove_plain(*files[name])
        except RunDiffers as error:
            _log.warning("%s; %s is not considered", error, name)
            passed_over += (name,)
            continue
        if loss > _UNASKED_LOSS:
            _log.warning("%s: %s loses %.4f nats per character, so it is served only if asked for", place, name, loss)
            continue
        programs[name] = program
    if len(programs) == 1:
        return "fp32", fp32, passed_over
    seconds = time_programs(programs)
    fastest = min(seconds, key=seconds.__getitem__)
    chosen = fastest if seconds["fp32"] >= _WORTHWHILE * seconds[fastest] else "fp32"
    steps = ", ".join(f"{name} {1e3 * each / _TRIAL_STEPS:.3f} ms" for name, each in seconds.items())
    _log.info("%s: serving %s; a step of %d rows takes %s", place, chosen, _TRIAL_ROWS, steps)
    return chosen, programs[chosen], passed_over


def time_programs(programs: Mapping[str, Program]) -> dict[str, float]:
    """Return the median seconds of a short run of each, measured in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(_TRIALS + 1):  # the first one warms up
        for name, program in programs.items():
            started = time.perf_counter()
            rehearse_tokens(program, _TRIAL_ROWS, _TRIAL_STEPS)
            seconds[name].append(time.perf_counter() - started)
    return {name: median(each[1:]) for name, each in seconds.items()}
