"""A module without memory, such as one time step, as a lean, reproducible ONNX graph.

Equal weights give equal bytes: nothing of the machine, the folder or the exporter's bookkeeping is kept.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import onnx
import torch
from torch import Tensor, nn

from unrolled.v1.bundle_pb2 import State
from unrolled_export.errors import CellError
from unrolled_export.shape import Signature

OPSET, IR_VERSION = 20, 10
PRODUCER = "unrolled"
EXAMPLE_BATCH = 3


class _Flat(nn.Module):
    """Give any cell the flat signature that is exported."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, first: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        given = self.cell(first, *states)
        return tuple(given) if isinstance(given, tuple | list) else (given,)


def trace_cell(cell: nn.Module, states: Sequence[State], vocabulary_size: int) -> onnx.ModelProto:
    """Export one step of `cell`, token in and logits out, with a free batch axis.

    Raises:
        CellError: the module cannot be traced, or gives other tensors than the law of a cell asks for.
    """
    extents = {state.input: tuple(state.shape) for state in states}
    new = {state.output: tuple(state.shape) for state in states}
    return trace(cell, Signature({"token": ()} | extents, {"logits": (vocabulary_size,)} | new))


def trace(module: nn.Module, signature: Signature) -> onnx.ModelProto:
    """Export a module that takes the signature's inputs in order and gives its outputs in order.

    Raises:
        CellError: the module cannot be traced, or gives other tensors than the signature asks for.
    """
    batch = torch.export.Dim("batch")
    examples = [
        torch.zeros(EXAMPLE_BATCH, *extents, dtype=torch.int64 if name == "token" else torch.float32)
        for name, extents in signature.inputs.items()
    ]
    _check_signature(module, examples, signature)
    with warnings.catch_warnings(), _quiet():
        # The exporter uses parts of torch that torch itself has deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", UserWarning)
        try:
            program = torch.onnx.export(
                _Flat(module).eval(),
                tuple(examples),
                dynamo=True,
                dynamic_shapes=({0: batch}, tuple({0: batch} for _ in examples[1:]))[: len(examples)],
                input_names=list(signature.inputs),
                output_names=list(signature.outputs),
                opset_version=OPSET,
                verbose=False,
            )
        except (torch.onnx.OnnxExporterError, RuntimeError) as error:
            raise CellError(f"the cell cannot be exported: {str(error).strip().splitlines()[0]}") from error
    if program is None:
        raise CellError("the cell cannot be exported")
    return _clean(program.model_proto)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's remarks about packages that this one does not use."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _check_signature(module: nn.Module, examples: Sequence[Tensor], signature: Signature) -> None:
    names = ", ".join(signature.inputs)
    with torch.no_grad():
        try:
            given = _Flat(module)(*examples)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise CellError(f"{type(module).__name__} does not take ({names}): {error}") from error
    wanted = [(EXAMPLE_BATCH, *extents) for extents in signature.outputs.values()]
    shapes = [tuple(tensor.shape) for tensor in given]
    if shapes != wanted:
        raise CellError(
            f"{type(module).__name__} must give {', '.join(signature.outputs)} of {wanted}; it gave {shapes}"
        )


def _clean(model: onnx.ModelProto) -> onnx.ModelProto:
    clean = onnx.ModelProto(ir_version=IR_VERSION, producer_name=PRODUCER)
    clean.opset_import.add(domain="", version=OPSET)
    if model.functions or any(node.domain for node in model.graph.node):
        raise CellError("the cell uses operators outside the ONNX standard")
    graph = clean.graph
    graph.CopyFrom(model.graph)
    graph.name = "cell"
    graph.doc_string = ""
    del graph.value_info[:], graph.metadata_props[:], graph.quantization_annotation[:]
    renamed = {item.name: item.name.removeprefix("cell.") for item in graph.initializer}
    for index, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{index}"
        node.doc_string = ""
        del node.metadata_props[:]
        node.input[:] = [renamed.get(name, name) for name in node.input]
    for tensor in graph.initializer:
        tensor.name = renamed[tensor.name]
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    for info in [*graph.input, *graph.output]:
        info.doc_string = ""
        del info.metadata_props[:]
    return clean
