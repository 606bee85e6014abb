"""What an operator can set: one validated object.

Knows names, kinds and limits; where values are read from is ``configuration``'s.
"""

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from unrolled_service.address import is_loopback, split_address

Precision = Literal["auto", "fp32", "int8"]
LogFormat = Literal["auto", "json", "text"]
LogLevel = Literal["debug", "info", "warning", "error"]
_NAME_LIMIT_BYTES, _PATH_LIMIT_BYTES = 255, 4095  # of Linux


class Settings(BaseSettings):
    """The settings of a server; the environment variable of ``name`` is ``UNROLLED_NAME``."""

    model_config = SettingsConfigDict(env_prefix="UNROLLED_", frozen=True, extra="forbid")

    bundle: Annotated[tuple[Path, ...], NoDecode] = Field(
        default_factory=lambda: (shipped_bundle(),),
        min_length=1,
        description="bundles to serve: folders, or names of shipped ones",
    )
    bundles_folder: Path | None = Field(
        None, description="folder below which admin calls find bundles; without one, only shipped ones can be loaded"
    )
    precision: Precision = Field(
        "auto", description="form of the cells: fp32, int8, or auto for the one that is faster here"
    )
    listen: str = Field("127.0.0.1:50051", description="address of the gRPC services; port 0 takes a free one")
    metrics_listen: str = Field("127.0.0.1:9464", description="address of /metrics, /healthz and /readyz")
    admin_listen: str | None = Field(
        None,
        description="address of the admin services, for instance 127.0.0.1:50052; without one, there are none",
    )
    max_bundle_mib: int = Field(512, ge=1, le=2047, description="largest bundle, all files together")
    allow_operators: str | None = Field(
        None, description="operators of cells besides the usual ones: Loop,com.example::Gate"
    )
    trial_cpu_s: float = Field(
        60.0, ge=1, le=86_400, description="CPU seconds of a bundle's trial run in a process of its own"
    )
    trial_memory_mib: int = Field(2048, ge=64, le=1_000_000, description="memory of a bundle's trial run")
    insecure: bool = Field(
        False, description="listen beyond this machine without TLS and authentication: something before it does both"
    )
    tls_cert: Path | None = Field(
        None, description="file of the certificate in PEM and those up to its root; with it nothing is clear text"
    )
    tls_key: Path | None = Field(None, description="file of the certificate's private key in PEM")
    tls_client_ca: Path | None = Field(
        None, description="file of the certificates in PEM that clients' must be signed by; without it they need none"
    )
    auth_tokens: Path | None = Field(None, description="file of hashed bearer tokens, see `unrolled token`")
    jwt_keys: Path | None = Field(
        None, description="file of the public key in PEM, or the JWKS, that signs JSON Web Tokens"
    )
    jwt_issuer: str | None = Field(None, min_length=1, description="`iss` that a JSON Web Token must have")
    jwt_audience: str | None = Field(None, min_length=1, description="`aud` that a JSON Web Token must have")
    jwt_tenant_claim: str = Field("sub", min_length=1, description="claim of a JSON Web Token that names the tenant")
    jwt_leeway_s: float = Field(30.0, ge=0, le=300, description="how far the issuer's clock may be from this one's")
    engine_threads: int = Field(
        default_factory=lambda: max(1, min((os.cpu_count() or 1) - 1, 4)),
        ge=1,
        le=36,
        description="engines side by side, each on a thread; by default one core less than there are, at most 4",
    )
    max_sessions: int = Field(4096, ge=1, le=10_000_000, description="sessions a bundle holds")
    slots: int = Field(4096, ge=1, le=1_000_000, description="sessions of a bundle that are kept ready in state memory")
    max_connections: int = Field(
        4096, ge=1, le=1_000_000, description="connections of the gRPC services, and of the admin services, each"
    )
    max_streams: int = Field(1024, ge=1, le=100_000, description="streams a bundle holds, running, waiting or resting")
    max_waiting_tokens: int = Field(
        10_000_000, ge=1, le=2**53, description="tokens, fed and given, that the waiting streams of a bundle stand for"
    )
    max_rows: int = Field(256, ge=1, le=4096, description="streams that run in one slice")
    max_steps: int = Field(64, ge=1, le=1024, description="steps of one slice at most")
    slice_ms: float = Field(
        10.0,
        gt=0,
        le=1000,
        description="time of a slice at most, to the nearest step; of more than 100 rows, of each 100",
    )
    pause_ms: float = Field(
        30.0,
        ge=0,
        le=1000,
        description="how long text gathers; 0.3 ms a row if that is more, 1 ms with more streams than rows",
    )
    turn_s: float = Field(2.0, gt=0, le=3600, description="how long a stream keeps its row while others wait for one")
    ageing_s: float = Field(
        10.0, ge=0, le=86_400, description="how long interactive streams go before one of batch priority"
    )
    max_tokens: int = Field(65_536, ge=1, le=2**31 - 1, description="highest max_tokens of a request")
    max_prompt_tokens: int = Field(65_536, ge=1, le=1_000_000, description="longest prompt of a request")
    credit: int = Field(256, ge=1, le=1_000_000, description="unread characters past which a stream rests")
    rewind_tokens: int = Field(
        1024, ge=16, le=1_000_000, description="how many tokens back a session can be rewound, at least"
    )
    session_ttl_s: float = Field(600.0, ge=1, le=31_536_000, description="idle time of a session that asks for none")
    max_session_age_s: float = Field(
        2_592_000.0, ge=1, le=315_360_000, description="a session's whole life at most, however much it is used"
    )
    session_memory_mib: int = Field(
        4096, ge=1, le=10_000_000, description="memory for states and histories of a bundle's sessions"
    )
    evict_after_s: float = Field(
        60.0, ge=0, le=31_536_000, description="idle time after which a session may be given up to make room"
    )
    max_session_ttl_s: float = Field(86_400.0, ge=1, le=31_536_000, description="longest idle time to ask for")
    snapshot_keys: Path | None = Field(
        None, description="file of the keys that sign snapshots; without one, snapshots live as long as the server"
    )
    store: str | None = Field(
        None, description="redis:// URL of the store that sessions are kept in; needs snapshot_keys"
    )
    store_interval_s: float = Field(
        1.0, gt=0, le=3600, description="how often the session of a running stream is written to the store"
    )
    store_interval_tokens: int = Field(
        4096, ge=1, le=2**31 - 1, description="after how many tokens it is written, if that is sooner"
    )
    store_lease_s: float = Field(
        5.0, gt=0, le=3600, description="how long other servers wait for one that went away in the middle of a stream"
    )
    tenant_streams: int | None = Field(
        None, ge=1, le=1_000_000, description="calls that a tenant has running or waiting"
    )
    tenant_sessions: int | None = Field(None, ge=1, le=10_000_000, description="sessions that a tenant has")
    tenant_tokens_per_s: float | None = Field(
        None, gt=0, le=10**12, description="tokens, fed and given, that a tenant has a second"
    )
    tenant_burst_s: float = Field(
        2.0, gt=0, le=86_400, description="for how many seconds' tokens a tenant that was quiet need not wait"
    )
    tenants: Path | None = Field(
        None, description="file of what single tenants may have instead; read again when it changes"
    )
    stall_timeout_s: float = Field(
        60.0, gt=0, le=86_400, description="how long a message waits for its reader, and a call for its first message"
    )
    drain_grace_s: float = Field(30.0, ge=0, le=86_400, description="how long running streams may go on at SIGTERM")
    log_format: LogFormat = Field(
        "auto", description="form of the log on stderr: auto is text on a terminal and json elsewhere"
    )
    log_level: LogLevel = Field("info", description="what the log has at least; debug has all calls and defects' words")
    otlp_endpoint: str | None = Field(
        None, description="http:// or https:// URL that traces are sent to by OTLP over gRPC; needs unrolled[otel]"
    )

    @model_validator(mode="after")
    def _check_store(self) -> Self:
        if self.store and not self.snapshot_keys:
            raise ValueError("store needs snapshot_keys: what no key of this server signed cannot be read back")
        if self.store_interval_s >= self.store_lease_s:
            raise ValueError("store_interval_s must be shorter than store_lease_s")
        return self

    @model_validator(mode="after")
    def _check_access(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key need each other")
        if self.tls_client_ca and not self.tls_cert:
            raise ValueError("tls_client_ca needs tls_cert: only who shows a certificate can ask for one")
        if len({value is None for value in (self.jwt_keys, self.jwt_issuer, self.jwt_audience)}) > 1:
            raise ValueError("jwt_keys, jwt_issuer and jwt_audience need each other")
        for name in ("listen", "metrics_listen", "admin_listen"):
            if (address := getattr(self, name)) is not None:
                self._check_reach(name, address)
        return self

    def _check_reach(self, name: str, address: str) -> None:
        """Refuse an address that others can reach if nothing protects it."""
        if self.insecure or is_loopback(split_address(address)[0]):
            return
        missing = [] if self.tls_cert else ["tls_cert and tls_key"]
        if not (self.auth_tokens or self.jwt_keys or self.tls_client_ca):
            missing.append("one of auth_tokens, jwt_keys and tls_client_ca")
        if missing:
            raise ValueError(
                f"{name} is {address}, which other machines can reach: that needs {', and '.join(missing)};"
                " or insecure, where something before this server does both"
            )

    @field_validator("listen", "metrics_listen", "admin_listen")
    @classmethod
    def _check_address(cls, value: str | None) -> str | None:
        if value is not None:
            split_address(value)
        return value

    @field_validator("otlp_endpoint")
    @classmethod
    def _check_endpoint(cls, value: str | None) -> str | None:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value or None

    @field_validator("bundle", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Take several folders from one variable, separated like those of PATH."""
        return tuple(value.split(os.pathsep)) if isinstance(value, str) else value

    @field_validator("bundle")
    @classmethod
    def _find(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(map(find_bundle, value))


GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Listen": ("listen", "metrics_listen", "admin_listen"),
        "Access": (
            *("insecure", "tls_cert", "tls_key", "tls_client_ca", "auth_tokens"),
            *("jwt_keys", "jwt_issuer", "jwt_audience", "jwt_tenant_claim", "jwt_leeway_s"),
        ),
        "Bundles": (
            *("bundle", "bundles_folder", "precision", "max_bundle_mib"),
            *("allow_operators", "trial_cpu_s", "trial_memory_mib"),
        ),
        "Engine": ("engine_threads", "max_rows", "max_steps", "slice_ms", "pause_ms", "turn_s", "ageing_s"),
        "Limits": (
            *("max_connections", "max_streams", "max_waiting_tokens", "max_tokens", "max_prompt_tokens", "credit"),
            *("stall_timeout_s", "drain_grace_s"),
        ),
        "Tenants": ("tenant_streams", "tenant_sessions", "tenant_tokens_per_s", "tenant_burst_s", "tenants"),
        "Sessions": (
            *("max_sessions", "slots", "session_memory_mib", "rewind_tokens"),
            *("session_ttl_s", "max_session_ttl_s", "max_session_age_s", "evict_after_s"),
            "snapshot_keys",
        ),
        "Store": ("store", "store_interval_s", "store_interval_tokens", "store_lease_s"),
        "Logs and traces": ("log_format", "log_level", "otlp_endpoint"),
    }
)
"""Every setting once, in the order and under the headings in which people read them."""


def shipped_bundle(name: str = "shakespeare") -> Path:
    """Return the folder of a bundle that comes with the package."""
    return Path(str(resources.files("unrolled_service") / "bundles" / name))


def is_shipped(folder: Path) -> bool:
    """Return whether a folder is that of a bundle which comes with the package, as much to be trusted as its code."""
    return folder.resolve().parent == shipped_bundle().parent.resolve()


def find_bundle(path: Path) -> Path:
    """Return the folder of a bundle: the path itself, or a shipped one's where it is but the name of that.

    Raises:
        ValueError: no file system has such a path.
    """
    longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    for what, size, limit in (
        ("name", longest, _NAME_LIMIT_BYTES),
        ("path", len(os.fsencode(path)), _PATH_LIMIT_BYTES),
    ):
        if size > limit:
            raise ValueError(f"a {what} has at most {limit} bytes, not {size}")
    shipped = shipped_bundle(path.name)
    return shipped if path == Path(path.name) and shipped.is_dir() and not path.exists() else path
