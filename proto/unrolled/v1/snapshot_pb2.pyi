from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class SignedSnapshot(_message.Message):
    __slots__ = ("format", "key_id", "snapshot", "signature")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    format: int
    key_id: str
    snapshot: bytes
    signature: bytes
    def __init__(self, format: _Optional[int] = ..., key_id: _Optional[str] = ..., snapshot: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("model", "model_sha256", "precision", "numerics", "owner", "seed", "consumed", "state", "pending", "generated", "fed", "ttl_s", "created", "latest_consumed", "latest", "pending_vectors")
    class GeneratedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    class FedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    NUMERICS_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    CONSUMED_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    GENERATED_FIELD_NUMBER: _ClassVar[int]
    FED_FIELD_NUMBER: _ClassVar[int]
    TTL_S_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    LATEST_CONSUMED_FIELD_NUMBER: _ClassVar[int]
    LATEST_FIELD_NUMBER: _ClassVar[int]
    PENDING_VECTORS_FIELD_NUMBER: _ClassVar[int]
    model: str
    model_sha256: bytes
    precision: str
    numerics: bytes
    owner: str
    seed: int
    consumed: int
    state: bytes
    pending: _containers.RepeatedScalarFieldContainer[int]
    generated: _containers.ScalarMap[int, int]
    fed: _containers.ScalarMap[int, int]
    ttl_s: float
    created: float
    latest_consumed: int
    latest: bytes
    pending_vectors: bytes
    def __init__(self, model: _Optional[str] = ..., model_sha256: _Optional[bytes] = ..., precision: _Optional[str] = ..., numerics: _Optional[bytes] = ..., owner: _Optional[str] = ..., seed: _Optional[int] = ..., consumed: _Optional[int] = ..., state: _Optional[bytes] = ..., pending: _Optional[_Iterable[int]] = ..., generated: _Optional[_Mapping[int, int]] = ..., fed: _Optional[_Mapping[int, int]] = ..., ttl_s: _Optional[float] = ..., created: _Optional[float] = ..., latest_consumed: _Optional[int] = ..., latest: _Optional[bytes] = ..., pending_vectors: _Optional[bytes] = ...) -> None: ...
