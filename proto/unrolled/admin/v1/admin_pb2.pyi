from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ModelStats(_message.Message):
    __slots__ = ("name", "sha256", "precision", "is_served", "streams", "streams_waiting", "sessions", "state_bytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    IS_SERVED_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    STREAMS_WAITING_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    STATE_BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    sha256: str
    precision: str
    is_served: bool
    streams: int
    streams_waiting: int
    sessions: int
    state_bytes: int
    def __init__(self, name: _Optional[str] = ..., sha256: _Optional[str] = ..., precision: _Optional[str] = ..., is_served: bool = ..., streams: _Optional[int] = ..., streams_waiting: _Optional[int] = ..., sessions: _Optional[int] = ..., state_bytes: _Optional[int] = ...) -> None: ...

class LoadModelRequest(_message.Message):
    __slots__ = ("bundle", "sha256")
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    bundle: str
    sha256: str
    def __init__(self, bundle: _Optional[str] = ..., sha256: _Optional[str] = ...) -> None: ...

class LoadModelResponse(_message.Message):
    __slots__ = ("model", "is_new")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IS_NEW_FIELD_NUMBER: _ClassVar[int]
    model: ModelStats
    is_new: bool
    def __init__(self, model: _Optional[_Union[ModelStats, _Mapping]] = ..., is_new: bool = ...) -> None: ...

class UnloadModelRequest(_message.Message):
    __slots__ = ("model", "sha256", "grace")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    GRACE_FIELD_NUMBER: _ClassVar[int]
    model: str
    sha256: str
    grace: _duration_pb2.Duration
    def __init__(self, model: _Optional[str] = ..., sha256: _Optional[str] = ..., grace: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class UnloadModelResponse(_message.Message):
    __slots__ = ("streams_ended", "sessions_ended", "is_gone")
    STREAMS_ENDED_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_ENDED_FIELD_NUMBER: _ClassVar[int]
    IS_GONE_FIELD_NUMBER: _ClassVar[int]
    streams_ended: int
    sessions_ended: int
    is_gone: bool
    def __init__(self, streams_ended: _Optional[int] = ..., sessions_ended: _Optional[int] = ..., is_gone: bool = ...) -> None: ...

class DrainRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DrainResponse(_message.Message):
    __slots__ = ("streams",)
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    streams: int
    def __init__(self, streams: _Optional[int] = ...) -> None: ...

class GetStatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatsResponse(_message.Message):
    __slots__ = ("version", "uptime", "is_draining", "models")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    UPTIME_FIELD_NUMBER: _ClassVar[int]
    IS_DRAINING_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    version: str
    uptime: _duration_pb2.Duration
    is_draining: bool
    models: _containers.RepeatedCompositeFieldContainer[ModelStats]
    def __init__(self, version: _Optional[str] = ..., uptime: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., is_draining: bool = ..., models: _Optional[_Iterable[_Union[ModelStats, _Mapping]]] = ...) -> None: ...
