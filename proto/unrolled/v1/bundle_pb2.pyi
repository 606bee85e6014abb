from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Task(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_UNSPECIFIED: _ClassVar[Task]
    TASK_GENERATE: _ClassVar[Task]
TASK_UNSPECIFIED: Task
TASK_GENERATE: Task

class Manifest(_message.Message):
    __slots__ = ("format", "name", "task", "description", "architecture", "vocabulary", "states", "evaluation", "files", "variants")
    class FilesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    VOCABULARY_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    VARIANTS_FIELD_NUMBER: _ClassVar[int]
    format: int
    name: str
    task: Task
    description: str
    architecture: Architecture
    vocabulary: _containers.RepeatedScalarFieldContainer[str]
    states: _containers.RepeatedCompositeFieldContainer[State]
    evaluation: Evaluation
    files: _containers.ScalarMap[str, str]
    variants: _containers.RepeatedCompositeFieldContainer[Variant]
    def __init__(self, format: _Optional[int] = ..., name: _Optional[str] = ..., task: _Optional[_Union[Task, str]] = ..., description: _Optional[str] = ..., architecture: _Optional[_Union[Architecture, _Mapping]] = ..., vocabulary: _Optional[_Iterable[str]] = ..., states: _Optional[_Iterable[_Union[State, _Mapping]]] = ..., evaluation: _Optional[_Union[Evaluation, _Mapping]] = ..., files: _Optional[_Mapping[str, str]] = ..., variants: _Optional[_Iterable[_Union[Variant, _Mapping]]] = ...) -> None: ...

class Variant(_message.Message):
    __slots__ = ("precision", "cell", "golden", "evaluation", "baseline")
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    CELL_FIELD_NUMBER: _ClassVar[int]
    GOLDEN_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    precision: str
    cell: str
    golden: str
    evaluation: Evaluation
    baseline: Evaluation
    def __init__(self, precision: _Optional[str] = ..., cell: _Optional[str] = ..., golden: _Optional[str] = ..., evaluation: _Optional[_Union[Evaluation, _Mapping]] = ..., baseline: _Optional[_Union[Evaluation, _Mapping]] = ...) -> None: ...

class Architecture(_message.Message):
    __slots__ = ("cell", "layers", "hidden_size", "embedding_size", "parameters")
    CELL_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_SIZE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_SIZE_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    cell: str
    layers: int
    hidden_size: int
    embedding_size: int
    parameters: int
    def __init__(self, cell: _Optional[str] = ..., layers: _Optional[int] = ..., hidden_size: _Optional[int] = ..., embedding_size: _Optional[int] = ..., parameters: _Optional[int] = ...) -> None: ...

class State(_message.Message):
    __slots__ = ("input", "output", "dtype", "shape", "initial")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    INITIAL_FIELD_NUMBER: _ClassVar[int]
    input: str
    output: str
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    initial: float
    def __init__(self, input: _Optional[str] = ..., output: _Optional[str] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., initial: _Optional[float] = ...) -> None: ...

class Evaluation(_message.Message):
    __slots__ = ("dataset", "nats_per_char", "bits_per_char", "characters")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    NATS_PER_CHAR_FIELD_NUMBER: _ClassVar[int]
    BITS_PER_CHAR_FIELD_NUMBER: _ClassVar[int]
    CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    nats_per_char: float
    bits_per_char: float
    characters: int
    def __init__(self, dataset: _Optional[str] = ..., nats_per_char: _Optional[float] = ..., bits_per_char: _Optional[float] = ..., characters: _Optional[int] = ...) -> None: ...

class Golden(_message.Message):
    __slots__ = ("prompt", "seed", "greedy", "sampled", "margin", "logits", "tolerance")
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    GREEDY_FIELD_NUMBER: _ClassVar[int]
    SAMPLED_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    LOGITS_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    prompt: _containers.RepeatedScalarFieldContainer[int]
    seed: int
    greedy: _containers.RepeatedScalarFieldContainer[int]
    sampled: _containers.RepeatedScalarFieldContainer[int]
    margin: float
    logits: _containers.RepeatedScalarFieldContainer[float]
    tolerance: float
    def __init__(self, prompt: _Optional[_Iterable[int]] = ..., seed: _Optional[int] = ..., greedy: _Optional[_Iterable[int]] = ..., sampled: _Optional[_Iterable[int]] = ..., margin: _Optional[float] = ..., logits: _Optional[_Iterable[float]] = ..., tolerance: _Optional[float] = ...) -> None: ...
