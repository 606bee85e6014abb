"""Runs one graph in onnxruntime; the only module that imports it.

It knows tensors by name and nothing of what they mean. Runs are synchronous and release the GIL.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import onnxruntime
from numpy.typing import NDArray


class ProgramError(Exception):
    """The runtime does not take a graph, or cannot run it; the message is the runtime's."""


class Graph:
    """A graph that is ready to run.

    Args:
        model: a self-contained model.
        threads: threads inside one operator; 1 has no pool and no spinning.

    Raises:
        ProgramError: the runtime does not take it.
    """

    def __init__(self, model: onnx.ModelProto, *, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # patterns are cached per batch size and never freed
        options.log_severity_level = 3
        try:
            content = model.SerializeToString()
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's errors have no common class
            raise ProgramError(str(error)) from error

    def run(self, outputs: Sequence[str], inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Return the named outputs in their order, as fresh arrays.

        Raises:
            ProgramError: the graph cannot be run on these inputs.
        """
        try:
            given: list[NDArray[Any]] = self._session.run(outputs, inputs)
        except Exception as error:  # as above
            raise ProgramError(str(error)) from error
        return given
