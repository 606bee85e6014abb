"""A one-step module as a lean, reproducible ONNX graph.

Equal weights give equal bytes: nothing of the machine, the folder or the exporter's bookkeeping is kept.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import onnx
import torch
from torch import Tensor, nn

from unrolled.v1.bundle_pb2 import State
from unrolled_export.errors import CellError

OPSET, IR_VERSION = 20, 10
PRODUCER = "unrolled"
EXAMPLE_BATCH = 3


class _Signature(nn.Module):
    """Give any cell the flat signature that is exported."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, token: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        logits, *after = self.cell(token, *states)
        return logits, *after


def trace_cell(cell: nn.Module, states: Sequence[State], vocabulary_size: int) -> onnx.ModelProto:
    """Export one step of `cell` with a free batch axis.

    Raises:
        CellError: the module cannot be traced, or gives other tensors than the law of a cell asks for.
    """
    batch = torch.export.Dim("batch")
    token = torch.zeros(EXAMPLE_BATCH, dtype=torch.int64)
    examples = [torch.full((EXAMPLE_BATCH, *state.shape), state.initial) for state in states]
    _check_signature(cell, token, examples, vocabulary_size)
    with warnings.catch_warnings(), _quiet():
        # The exporter uses parts of torch that torch itself has deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", UserWarning)
        try:
            program = torch.onnx.export(
                _Signature(cell).eval(),
                (token, *examples),
                dynamo=True,
                dynamic_shapes=({0: batch}, tuple({0: batch} for _ in examples)),
                input_names=["token", *(state.input for state in states)],
                output_names=["logits", *(state.output for state in states)],
                opset_version=OPSET,
                verbose=False,
            )
        except (torch.onnx.OnnxExporterError, RuntimeError) as error:
            raise CellError(f"the cell cannot be exported: {str(error).strip().splitlines()[0]}") from error
    if program is None:
        raise CellError("the cell cannot be exported")
    return _clean(program.model_proto)


def attach_metadata(model: onnx.ModelProto, entries: Mapping[str, str]) -> None:
    """Replace the metadata of `model` by `entries`, sorted by key."""
    del model.metadata_props[:]
    for key, value in sorted(entries.items()):
        model.metadata_props.add(key=key, value=value)


def to_bytes(model: onnx.ModelProto) -> bytes:
    """Serialise the same way every time.

    Raises:
        CellError: the graph is not valid ONNX.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise CellError(f"the exported graph is not valid: {error}") from error
    return model.SerializeToString(deterministic=True)


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


def _check_signature(cell: nn.Module, token: Tensor, examples: Sequence[Tensor], vocabulary_size: int) -> None:
    with torch.no_grad():
        try:
            given = cell(token, *examples)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise CellError(f"the cell does not take (token, {len(examples)} states): {error}") from error
    wanted = [(EXAMPLE_BATCH, vocabulary_size), *(tuple(example.shape) for example in examples)]
    shapes = [tuple(tensor.shape) for tensor in given] if isinstance(given, tuple | list) else None
    if shapes != wanted:
        raise CellError(f"the cell must give logits and new states of {wanted}; it gave {shapes}")


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
