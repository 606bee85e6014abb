from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Modality(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODALITY_UNSPECIFIED: _ClassVar[Modality]
    MODALITY_TOKEN: _ClassVar[Modality]
    MODALITY_VECTOR: _ClassVar[Modality]
    MODALITY_LABEL: _ClassVar[Modality]

class Task(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_UNSPECIFIED: _ClassVar[Task]
    TASK_GENERATE: _ClassVar[Task]
    TASK_CLASSIFY: _ClassVar[Task]
    TASK_TAG: _ClassVar[Task]
    TASK_TRANSDUCE: _ClassVar[Task]
MODALITY_UNSPECIFIED: Modality
MODALITY_TOKEN: Modality
MODALITY_VECTOR: Modality
MODALITY_LABEL: Modality
TASK_UNSPECIFIED: Task
TASK_GENERATE: Task
TASK_CLASSIFY: Task
TASK_TAG: Task
TASK_TRANSDUCE: Task

class Manifest(_message.Message):
    __slots__ = ("format", "name", "task", "description", "architecture", "vocabulary", "states", "evaluation", "files", "variants", "input", "output", "condition", "encoder", "feedback")
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
    INPUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    ENCODER_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
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
    input: Port
    output: Port
    condition: Condition
    encoder: Encoder
    feedback: Feedback
    def __init__(self, format: _Optional[int] = ..., name: _Optional[str] = ..., task: _Optional[_Union[Task, str]] = ..., description: _Optional[str] = ..., architecture: _Optional[_Union[Architecture, _Mapping]] = ..., vocabulary: _Optional[_Iterable[str]] = ..., states: _Optional[_Iterable[_Union[State, _Mapping]]] = ..., evaluation: _Optional[_Union[Evaluation, _Mapping]] = ..., files: _Optional[_Mapping[str, str]] = ..., variants: _Optional[_Iterable[_Union[Variant, _Mapping]]] = ..., input: _Optional[_Union[Port, _Mapping]] = ..., output: _Optional[_Union[Port, _Mapping]] = ..., condition: _Optional[_Union[Condition, _Mapping]] = ..., encoder: _Optional[_Union[Encoder, _Mapping]] = ..., feedback: _Optional[_Union[Feedback, _Mapping]] = ...) -> None: ...

class Port(_message.Message):
    __slots__ = ("modality", "width", "names")
    MODALITY_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    modality: Modality
    width: int
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, modality: _Optional[_Union[Modality, str]] = ..., width: _Optional[int] = ..., names: _Optional[_Iterable[str]] = ...) -> None: ...

class Condition(_message.Message):
    __slots__ = ("port",)
    PORT_FIELD_NUMBER: _ClassVar[int]
    port: Port
    def __init__(self, port: _Optional[_Union[Port, _Mapping]] = ...) -> None: ...

class Encoder(_message.Message):
    __slots__ = ("input", "vocabulary", "states", "has_bridge")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    VOCABULARY_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    HAS_BRIDGE_FIELD_NUMBER: _ClassVar[int]
    input: Port
    vocabulary: _containers.RepeatedScalarFieldContainer[str]
    states: _containers.RepeatedCompositeFieldContainer[State]
    has_bridge: bool
    def __init__(self, input: _Optional[_Union[Port, _Mapping]] = ..., vocabulary: _Optional[_Iterable[str]] = ..., states: _Optional[_Iterable[_Union[State, _Mapping]]] = ..., has_bridge: bool = ...) -> None: ...

class Feedback(_message.Message):
    __slots__ = ("start_token", "end_token", "start", "length")
    START_TOKEN_FIELD_NUMBER: _ClassVar[int]
    END_TOKEN_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    start_token: int
    end_token: int
    start: _containers.RepeatedScalarFieldContainer[float]
    length: int
    def __init__(self, start_token: _Optional[int] = ..., end_token: _Optional[int] = ..., start: _Optional[_Iterable[float]] = ..., length: _Optional[int] = ...) -> None: ...

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
    __slots__ = ("dataset", "nats_per_char", "bits_per_char", "characters", "figures")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    NATS_PER_CHAR_FIELD_NUMBER: _ClassVar[int]
    BITS_PER_CHAR_FIELD_NUMBER: _ClassVar[int]
    CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    FIGURES_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    nats_per_char: float
    bits_per_char: float
    characters: int
    figures: _containers.RepeatedCompositeFieldContainer[Figure]
    def __init__(self, dataset: _Optional[str] = ..., nats_per_char: _Optional[float] = ..., bits_per_char: _Optional[float] = ..., characters: _Optional[int] = ..., figures: _Optional[_Iterable[_Union[Figure, _Mapping]]] = ...) -> None: ...

class Figure(_message.Message):
    __slots__ = ("name", "value", "count")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    count: int
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ..., count: _Optional[int] = ...) -> None: ...

class Golden(_message.Message):
    __slots__ = ("prompt", "seed", "greedy", "sampled", "margin", "logits", "tolerance", "runs")
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    GREEDY_FIELD_NUMBER: _ClassVar[int]
    SAMPLED_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    LOGITS_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    prompt: _containers.RepeatedScalarFieldContainer[int]
    seed: int
    greedy: _containers.RepeatedScalarFieldContainer[int]
    sampled: _containers.RepeatedScalarFieldContainer[int]
    margin: float
    logits: _containers.RepeatedScalarFieldContainer[float]
    tolerance: float
    runs: _containers.RepeatedCompositeFieldContainer[Run]
    def __init__(self, prompt: _Optional[_Iterable[int]] = ..., seed: _Optional[int] = ..., greedy: _Optional[_Iterable[int]] = ..., sampled: _Optional[_Iterable[int]] = ..., margin: _Optional[float] = ..., logits: _Optional[_Iterable[float]] = ..., tolerance: _Optional[float] = ..., runs: _Optional[_Iterable[_Union[Run, _Mapping]]] = ...) -> None: ...

class Run(_message.Message):
    __slots__ = ("condition", "source", "inputs", "outputs")
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    condition: _containers.RepeatedScalarFieldContainer[float]
    source: Series
    inputs: Series
    outputs: _containers.RepeatedCompositeFieldContainer[Vector]
    def __init__(self, condition: _Optional[_Iterable[float]] = ..., source: _Optional[_Union[Series, _Mapping]] = ..., inputs: _Optional[_Union[Series, _Mapping]] = ..., outputs: _Optional[_Iterable[_Union[Vector, _Mapping]]] = ...) -> None: ...

class Series(_message.Message):
    __slots__ = ("tokens", "vectors")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    tokens: _containers.RepeatedScalarFieldContainer[int]
    vectors: _containers.RepeatedCompositeFieldContainer[Vector]
    def __init__(self, tokens: _Optional[_Iterable[int]] = ..., vectors: _Optional[_Iterable[_Union[Vector, _Mapping]]] = ...) -> None: ...

class Vector(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class Examples(_message.Message):
    __slots__ = ("dataset", "examples")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    examples: _containers.RepeatedCompositeFieldContainer[Example]
    def __init__(self, dataset: _Optional[str] = ..., examples: _Optional[_Iterable[_Union[Example, _Mapping]]] = ...) -> None: ...

class Example(_message.Message):
    __slots__ = ("condition", "source", "inputs", "wanted")
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    condition: _containers.RepeatedScalarFieldContainer[float]
    source: Series
    inputs: Series
    wanted: Series
    def __init__(self, condition: _Optional[_Iterable[float]] = ..., source: _Optional[_Union[Series, _Mapping]] = ..., inputs: _Optional[_Union[Series, _Mapping]] = ..., wanted: _Optional[_Union[Series, _Mapping]] = ...) -> None: ...
