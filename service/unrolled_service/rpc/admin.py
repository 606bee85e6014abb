"""AdminService: bundles are loaded and unloaded while others are served, the server is drained and counted."""

import asyncio
import re
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from unrolled.admin.v1 import admin_pb2 as wire
from unrolled.admin.v1.admin_pb2_grpc import AdminServiceServicer
from unrolled_service.bridge.catalog import Catalog
from unrolled_service.bridge.completion import complete
from unrolled_service.bridge.workers import Workers
from unrolled_service.errors import BundleError, Draining, InvalidField
from unrolled_service.lanes.lane import Lane
from unrolled_service.metrics import Metrics
from unrolled_service.models.bundle import Bundle
from unrolled_service.models.contents import read_contents
from unrolled_service.models.golden import RunDiffers
from unrolled_service.models.limits import Limits
from unrolled_service.models.trial import admit_contents
from unrolled_service.rpc.fields import MAX_MODEL_LENGTH, read_duration
from unrolled_service.settings import Settings, shipped_bundle

MAX_BUNDLE_LENGTH = 512
MAX_GRACE_S = 86_400
MAX_PART_LENGTH = 255  # what file systems take, in bytes; these characters have one each
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class AdminService(AdminServiceServicer):
    """Serves operators.

    Args:
        catalog: what is served.
        workers: where it is.
        metrics: count the bundles that are refused.
        settings: where bundles lie, and limits.
        begin_drain: makes the server drain and end.

    Attributes:
        is_draining: new work is refused.
    """

    def __init__(
        self,
        catalog: Catalog,
        workers: Workers,
        metrics: Metrics,
        settings: Settings,
        begin_drain: Callable[[], None],
    ) -> None:
        self.is_draining = False
        self._catalog = catalog
        self._workers = workers
        self._metrics = metrics
        self._settings = settings
        self._begin_drain = begin_drain
        self._began = time.monotonic()
        self._loading = asyncio.Lock()
        self._changes: set[asyncio.Task[Any]] = set()

    async def LoadModel(self, request: wire.LoadModelRequest, _: grpc.aio.ServicerContext) -> wire.LoadModelResponse:
        """Load a bundle, off the event loop and off the engines' threads."""
        folder, below = self._locate(request.bundle)
        sha256 = _read_sha256(request.sha256)
        if self.is_draining:
            raise Draining
        async with self._loading:  # one trial at a time
            try:
                bundle = await self._load(folder, below, sha256, request.bundle)
            except BundleError as error:
                self._metrics.count_bundle_failure("golden" if isinstance(error, RunDiffers) else "invalid")
                raise InvalidField("bundle", str(error)) from error
            self._metrics.count_passed_over(bundle)
            is_new = await complete(self._catalog.add(bundle), self._changes)
        return wire.LoadModelResponse(model=self._describe(bundle), is_new=is_new)

    async def UnloadModel(
        self, request: wire.UnloadModelRequest, _: grpc.aio.ServicerContext
    ) -> wire.UnloadModelResponse:
        """Unload a bundle with what it has."""
        if not 1 <= len(request.model) <= MAX_MODEL_LENGTH:
            raise InvalidField("model", f"must have 1 to {MAX_MODEL_LENGTH} characters, has {len(request.model)}")
        grace_s = (
            read_duration(request.grace, 0, MAX_GRACE_S, field="grace")
            if request.HasField("grace")
            else self._settings.drain_grace_s
        )
        removal = self._catalog.remove(request.model, _read_sha256(request.sha256), grace_s)
        unloaded = await complete(removal, self._changes)
        return wire.UnloadModelResponse(
            streams_ended=unloaded.streams, sessions_ended=unloaded.sessions, is_gone=unloaded.is_gone
        )

    async def Drain(self, _: wire.DrainRequest, __: grpc.aio.ServicerContext) -> wire.DrainResponse:
        """Begin to drain."""
        self.is_draining = True
        self._begin_drain()
        return wire.DrainResponse(streams=self._workers.streams)

    async def GetStats(self, _: wire.GetStatsRequest, __: grpc.aio.ServicerContext) -> wire.GetStatsResponse:
        """Tell what there is."""
        uptime = Duration()
        uptime.FromMilliseconds(int(1000 * (time.monotonic() - self._began)))
        served = self._catalog.served
        kept = [each for each in self._catalog.every if each not in served]
        return wire.GetStatsResponse(
            version=version("unrolled"),
            uptime=uptime,
            is_draining=self.is_draining,
            models=[self._describe(each) for each in (*served, *kept)],
        )

    def _locate(self, bundle: str) -> tuple[Path, tuple[str, ...]]:
        """Return a folder of the operator's, and the way from there; never a path that the caller made up."""
        if not 1 <= len(bundle) <= MAX_BUNDLE_LENGTH:
            raise InvalidField("bundle", f"must have 1 to {MAX_BUNDLE_LENGTH} characters, has {len(bundle)}")
        parts = tuple(bundle.split("/"))
        if not all(map(_PART.fullmatch, parts)):
            raise InvalidField("bundle", "must be names of a-z A-Z 0-9 . _ - between slashes; none begins with a dot")
        longest = max(map(len, parts))
        if longest > MAX_PART_LENGTH:
            raise InvalidField("bundle", f"must be names of at most {MAX_PART_LENGTH} characters, one has {longest}")
        folder = self._settings.bundles_folder
        if folder is not None and _is_there(folder.joinpath(*parts)):
            return folder, parts
        if len(parts) == 1 and shipped_bundle(bundle).is_dir():
            return shipped_bundle(bundle), ()
        raise InvalidField("bundle", "is neither a folder below the server's bundles_folder nor a shipped bundle")

    async def _load(self, folder: Path, below: tuple[str, ...], sha256: str, place: str) -> Bundle:
        """Return the bundle, which is tried unless it is served already."""
        settings = self._settings
        contents = await asyncio.to_thread(
            read_contents, folder, settings.precision, Limits.of(settings), place=place, below=below
        )
        if sha256 not in ("", contents.sha256):
            raise InvalidField("sha256", f"that of the bundle's manifest is {contents.sha256}")
        for bundle in self._catalog.every:
            if bundle.sha256 == contents.sha256:
                return bundle
        return await asyncio.to_thread(admit_contents, contents, settings, is_trusted=not below)

    def _describe(self, bundle: Bundle) -> wire.ModelStats:
        lanes: list[Lane] = self._catalog.lanes(bundle.host.key)
        return wire.ModelStats(
            name=bundle.name,
            sha256=bundle.sha256,
            precision=bundle.precision,
            is_served=any(each is bundle for each in self._catalog.served),
            streams=sum(lane.streams for lane in lanes),
            streams_waiting=sum(lane.scheduler.waiting for lane in lanes),
            sessions=sum(lane.sessions for lane in lanes),
            state_bytes=sum(lane.residency.state_bytes for lane in lanes),
        )


def _is_there(path: Path) -> bool:
    """Return whether there is something at a path; there is nothing at one that cannot be, or that is out of reach."""
    try:
        return path.exists()
    except OSError:  # the path as a whole is too long, or leads through a folder that may not be looked into
        return False


def _read_sha256(sha256: str) -> str:
    if sha256 and not _SHA256.fullmatch(sha256):
        raise InvalidField("sha256", "must be 64 lower-case hex digits, or empty")
    return sha256
