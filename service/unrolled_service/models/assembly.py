"""Makes what runs of the files of a bundle: its cell, and what sets the cell's first state; and proves it.

Knows files, graphs and golden runs; not which form of a cell is served, nor what a bundle is called.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import onnx

from unrolled.v1.bundle_pb2 import MODALITY_LABEL, Golden, State
from unrolled_service.errors import BundleError
from unrolled_service.graphs.program import Program
from unrolled_service.graphs.runtime import Graph, ProgramError
from unrolled_service.graphs.sequence_program import SequenceProgram
from unrolled_service.graphs.state import StateSpec
from unrolled_service.models.beginning import Condition, Encoder
from unrolled_service.models.bundle_files import parse_graph, parse_message
from unrolled_service.models.contents import Contents
from unrolled_service.models.golden import Player, RunDiffers, check_golden, check_runs, replay_golden
from unrolled_service.models.limits import Limits
from unrolled_service.models.probe import mixes_rows
from unrolled_service.models.shape import (
    BRIDGE,
    CELL,
    CONDITION,
    ENCODER,
    describe_graphs,
    generates_tokens,
    is_generative,
    is_plain,
    measure_output,
    modality,
    name_output,
)
from unrolled_service.models.vocabulary import Vocabulary

# What a row's numbers may differ by beside others: kernels differ by far less. With a variant's rounded states such a
# difference becomes one of a whole step.
_ROUNDING, _VARIANT_ROUNDING = 1e-3, 0.1


class Assembly:
    """Reads the graphs of one bundle.

    Args:
        contents: what its folder held.
        limits: what its graphs may be.

    Attributes:
        place: where it was read, for people.
        manifest: its manifest.
        states: of the cell.
        condition, encoder: what sets the first state, if anything does.

    Raises:
        BundleError: a file is not what it should be, or the runtime does not take it.
    """

    def __init__(self, contents: Contents, limits: Limits) -> None:
        self.place, self.manifest = contents.place, contents.manifest
        self._contents, self._limits = contents, limits
        self.states = _specify(self.manifest.states)
        self._signatures = describe_graphs(self.manifest)
        self.condition = self._load_condition() if CONDITION in self._signatures else None
        self.encoder = self._load_encoder() if ENCODER in self._signatures else None

    def prove(self, cell_name: str, golden_name: str) -> Program | SequenceProgram:
        """Return the program of one form of the cell after its golden run.

        Raises:
            RunDiffers: this machine does not repeat it.
            BundleError: a file is not what it should be, or the runtime does not take it.
        """
        if is_plain(self.manifest):
            return self.prove_plain(cell_name, golden_name)
        golden, cell, manifest = self._read_golden(golden_name), self._read_graph(cell_name, CELL), self.manifest
        with self._naming(golden_name):
            check_runs(golden, manifest)
        with self._naming(cell_name):
            sequence = SequenceProgram(
                cell,
                self.states,
                input_width=manifest.input.width,
                output=name_output(manifest.output),
                output_width=measure_output(manifest),
                feeds_back=is_generative(manifest) and not generates_tokens(manifest),
            )
            tokens = Program(cell, self.states, len(manifest.vocabulary)) if generates_tokens(manifest) else None
        with self._naming(golden_name):
            Player(sequence, tokens, self.condition, self.encoder).replay_runs(golden)
        self._check_rows(cell_name, sequence, len(manifest.vocabulary))
        return tokens or sequence

    def prove_plain(self, cell_name: str, golden_name: str) -> Program:
        """Return what ``prove`` does, of a bundle that is known to be of plain generation."""
        golden, cell = self._read_golden(golden_name), self._read_graph(cell_name, CELL)
        size = len(self.manifest.vocabulary)
        with self._naming(golden_name):
            check_golden(golden, size)
        with self._naming(cell_name):
            program = Program(cell, self.states, size)
            output = name_output(self.manifest.output)
            logits = SequenceProgram(
                cell, self.states, input_width=0, output=output, output_width=size, feeds_back=False
            )
        with self._naming(golden_name):
            replay_golden(program, golden)
        self._check_rows(cell_name, logits, size)
        return program

    def _check_rows(self, name: str, program: SequenceProgram, vocabulary_size: int) -> None:
        """Refuse a cell that lets callers see, or change, what others do.

        Raises:
            BundleError: a row's result depends on the rows beside it.
        """
        with self._naming(name):
            rounding = _VARIANT_ROUNDING if name not in (CELL, ENCODER) else _ROUNDING
            if mixes_rows(program, vocabulary_size, rounding=rounding):
                raise BundleError("a row's result depends on its neighbours")

    def _load_condition(self) -> Condition:
        port = self.manifest.condition.port
        is_label = modality(port) == MODALITY_LABEL
        return Condition(self._load_graph(CONDITION), self.states, port.width, port.names, is_label=is_label)

    def _load_encoder(self) -> Encoder:
        encoder, states = self.manifest.encoder, _specify(self.manifest.encoder.states)
        model, width = self._read_graph(ENCODER, ENCODER), encoder.input.width
        with self._naming(ENCODER):
            program = SequenceProgram(model, states, input_width=width, output="", output_width=0, feeds_back=False)
        self._check_rows(ENCODER, program, len(encoder.vocabulary))
        bridge = self._load_graph(BRIDGE) if BRIDGE in self._signatures else None
        return Encoder(program, Vocabulary(encoder.vocabulary), states, self.states, bridge)

    def _load_graph(self, name: str) -> Graph:
        model = self._read_graph(name, name)
        with self._naming(name):
            return Graph(model)

    def _read_graph(self, name: str, role: str) -> onnx.ModelProto:
        """Return the graph of a file that plays the part of the one named ``role``."""
        contents = self._contents
        return parse_graph(contents.where(name), contents.files[name], self._signatures[role], self._limits)

    def _read_golden(self, name: str) -> Golden:
        return parse_message(self._contents.where(name), self._contents.files[name], Golden())

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """Put the name of a file before what goes wrong."""
        try:
            yield
        except RunDiffers as error:
            raise RunDiffers(f"{self._contents.where(name)}: {error}") from error
        except (BundleError, ProgramError) as error:
            raise BundleError(f"{self._contents.where(name)}: {error}") from error


def _specify(states: Sequence[State]) -> tuple[StateSpec, ...]:
    return tuple(StateSpec(state.input, state.output, tuple(state.shape), state.initial) for state in states)
