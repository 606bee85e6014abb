"""What an operator is told of a server: frozen values that know nothing of the wire."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelStats:
    """What a server holds of one bundle.

    Attributes:
        name: its name.
        sha256: its identity, in lower-case hex.
        precision: form of its cell that runs: "fp32" or "int8".
        is_served: new calls find it by name; else it is kept for the sessions and streams that it has.
        streams: calls that have a place: running, waiting or resting.
        streams_waiting: of these, calls that wait for a row.
        sessions: sessions on it.
        state_bytes: bytes kept for its sessions: states and histories.
    """

    name: str
    sha256: str
    precision: str
    is_served: bool
    streams: int
    streams_waiting: int
    sessions: int
    state_bytes: int


@dataclass(frozen=True)
class ServerStats:
    """What a server holds.

    Attributes:
        version: its version.
        uptime_s: seconds since it began to serve.
        is_draining: new work is refused.
        models: its bundles, those that are kept after those that are served.
    """

    version: str
    uptime_s: float
    is_draining: bool
    models: tuple[ModelStats, ...]


@dataclass(frozen=True)
class LoadedModel:
    """A bundle that is served now.

    Attributes:
        model: what the server holds of it.
        is_new: it was not served before the call.
    """

    model: ModelStats
    is_new: bool


@dataclass(frozen=True)
class UnloadedModel:
    """What became of what a bundle had.

    Attributes:
        streams_ended: streams that were ended when the grace time was over.
        sessions_ended: sessions that ended with it.
        is_gone: its memory is free; else it goes with a stream whose caller takes no news.
    """

    streams_ended: int
    sessions_ended: int
    is_gone: bool
