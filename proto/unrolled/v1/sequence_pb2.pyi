from unrolled.v1 import bundle_pb2 as _bundle_pb2
from unrolled.v1 import generation_pb2 as _generation_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Opening(_message.Message):
    __slots__ = ("model", "session_id", "expected_position", "preempt", "activations", "priority")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_POSITION_FIELD_NUMBER: _ClassVar[int]
    PREEMPT_FIELD_NUMBER: _ClassVar[int]
    ACTIVATIONS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    model: str
    session_id: str
    expected_position: int
    preempt: bool
    activations: _generation_pb2.Activations
    priority: _generation_pb2.Priority
    def __init__(self, model: _Optional[str] = ..., session_id: _Optional[str] = ..., expected_position: _Optional[int] = ..., preempt: bool = ..., activations: _Optional[_Union[_generation_pb2.Activations, _Mapping]] = ..., priority: _Optional[_Union[_generation_pb2.Priority, str]] = ...) -> None: ...

class Inputs(_message.Message):
    __slots__ = ("text", "vectors")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    text: str
    vectors: _containers.RepeatedCompositeFieldContainer[_bundle_pb2.Vector]
    def __init__(self, text: _Optional[str] = ..., vectors: _Optional[_Iterable[_Union[_bundle_pb2.Vector, _Mapping]]] = ...) -> None: ...

class Output(_message.Message):
    __slots__ = ("label", "probabilities", "values", "activations")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    ACTIVATIONS_FIELD_NUMBER: _ClassVar[int]
    label: str
    probabilities: _containers.RepeatedScalarFieldContainer[float]
    values: _containers.RepeatedScalarFieldContainer[float]
    activations: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, label: _Optional[str] = ..., probabilities: _Optional[_Iterable[float]] = ..., values: _Optional[_Iterable[float]] = ..., activations: _Optional[_Iterable[float]] = ...) -> None: ...

class StepRequest(_message.Message):
    __slots__ = ("opening", "inputs")
    OPENING_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    opening: Opening
    inputs: Inputs
    def __init__(self, opening: _Optional[_Union[Opening, _Mapping]] = ..., inputs: _Optional[_Union[Inputs, _Mapping]] = ...) -> None: ...

class StepResponse(_message.Message):
    __slots__ = ("outputs", "position")
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    outputs: _containers.RepeatedCompositeFieldContainer[Output]
    position: int
    def __init__(self, outputs: _Optional[_Iterable[_Union[Output, _Mapping]]] = ..., position: _Optional[int] = ...) -> None: ...

class ClassifyRequest(_message.Message):
    __slots__ = ("opening", "inputs")
    OPENING_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    opening: Opening
    inputs: Inputs
    def __init__(self, opening: _Optional[_Union[Opening, _Mapping]] = ..., inputs: _Optional[_Union[Inputs, _Mapping]] = ...) -> None: ...

class ClassifyResponse(_message.Message):
    __slots__ = ("output", "inputs", "position")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    output: Output
    inputs: int
    position: int
    def __init__(self, output: _Optional[_Union[Output, _Mapping]] = ..., inputs: _Optional[int] = ..., position: _Optional[int] = ...) -> None: ...

class TransduceRequest(_message.Message):
    __slots__ = ("model", "source", "max_tokens", "sampling", "stop", "seed", "logprobs", "max_chunk_tokens", "priority", "origin")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    MAX_CHUNK_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    model: str
    source: Inputs
    max_tokens: int
    sampling: _generation_pb2.Sampling
    stop: _containers.RepeatedScalarFieldContainer[str]
    seed: int
    logprobs: int
    max_chunk_tokens: int
    priority: _generation_pb2.Priority
    origin: _generation_pb2.Origin
    def __init__(self, model: _Optional[str] = ..., source: _Optional[_Union[Inputs, _Mapping]] = ..., max_tokens: _Optional[int] = ..., sampling: _Optional[_Union[_generation_pb2.Sampling, _Mapping]] = ..., stop: _Optional[_Iterable[str]] = ..., seed: _Optional[int] = ..., logprobs: _Optional[int] = ..., max_chunk_tokens: _Optional[int] = ..., priority: _Optional[_Union[_generation_pb2.Priority, str]] = ..., origin: _Optional[_Union[_generation_pb2.Origin, _Mapping]] = ...) -> None: ...

class TransduceResponse(_message.Message):
    __slots__ = ("chunk", "finish")
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    FINISH_FIELD_NUMBER: _ClassVar[int]
    chunk: _generation_pb2.Chunk
    finish: _generation_pb2.Finish
    def __init__(self, chunk: _Optional[_Union[_generation_pb2.Chunk, _Mapping]] = ..., finish: _Optional[_Union[_generation_pb2.Finish, _Mapping]] = ...) -> None: ...
