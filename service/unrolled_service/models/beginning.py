"""What sets a cell's state at position 0 where its initial values do not: a condition, or an encoder's context.

Both know flattened states, as an arena keeps them, and run one row at a time.
"""

from collections.abc import Sequence

import numpy as np

from unrolled_service.graphs.runtime import Graph
from unrolled_service.graphs.sequence_program import SequenceProgram
from unrolled_service.graphs.state import Floats, StateSpec
from unrolled_service.models.vocabulary import Vocabulary


class Condition:
    """Makes a state from numbers.

    Args:
        graph: condition.onnx.
        states: those of the cell, in order.
        width: C.
        names: labels, where the numbers are one-hot; names of the numbers, or none, where they are not.
        is_label: whether the numbers are the one-hot vector of a label.

    Attributes:
        width, names, is_label: as given.
    """

    def __init__(
        self, graph: Graph, states: Sequence[StateSpec], width: int, names: Sequence[str], *, is_label: bool
    ) -> None:
        self.width, self.names, self.is_label = width, tuple(names), is_label
        self._graph, self._states = graph, tuple(states)

    def begin(self, numbers: Floats) -> Floats:
        """Return the state at position 0, f32[S], of a condition f32[C].

        Raises:
            ProgramError: the runtime cannot run the graph.
        """
        made = self._graph.run([state.input for state in self._states], {"condition": numbers[None]})
        return _flatten(made)


class Encoder:
    """Reads a source; its last state is the context from which a decoder begins.

    Args:
        program: encoder.onnx over sequences; it gives no output.
        vocabulary: tokens of a source; empty where it is vectors.
        states: its states in order.
        decoder_states: those of the decoder, in order.
        bridge: bridge.onnx; None where the decoder takes the context as it is.

    Attributes:
        program, vocabulary, states: as given.
    """

    def __init__(
        self,
        program: SequenceProgram,
        vocabulary: Vocabulary,
        states: Sequence[StateSpec],
        decoder_states: Sequence[StateSpec],
        bridge: Graph | None,
    ) -> None:
        self.program, self.vocabulary, self.states = program, vocabulary, tuple(states)
        self._decoder_states, self._bridge = tuple(decoder_states), bridge

    def bridge(self, context: Floats) -> Floats:
        """Return the decoder's state at position 0, f32[S], for the encoder's last state f32[E].

        Raises:
            ProgramError: the runtime cannot run the bridge.
        """
        borders = np.cumsum([state.size for state in self.states])[:-1]
        parts = {
            state: part.reshape(1, *state.shape)
            for state, part in zip(self.states, np.split(context, borders), strict=True)
        }
        wanted = [state.input for state in self._decoder_states]
        if self._bridge is not None:
            return _flatten(self._bridge.run(wanted, {state.output: part for state, part in parts.items()}))
        by_name = {state.input: part for state, part in parts.items()}
        return _flatten([by_name[name] for name in wanted])


def _flatten(tensors: Sequence[Floats]) -> Floats:
    return np.concatenate([tensor.ravel() for tensor in tensors])
