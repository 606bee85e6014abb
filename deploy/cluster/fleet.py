"""A cluster on this machine: Redis, servers, Envoy and, if wanted, Prometheus, each a real process on the loopback.

Addresses are chosen once; a member that is started again has the one that it had. Whoever wants faults between
members gives a `Link` and carries the connections.
"""

import secrets
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

import yaml
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis
from redis.exceptions import RedisError

from deploy.cluster import envoy as front
from deploy.cluster import scraping
from deploy.cluster.member import Member
from deploy.cluster.ports import free_addresses
from deploy.cluster.programs import find_program

Link = Callable[[str, str, str], str]
"""Takes the names of who dials and of who is dialled, and the latter's address; returns the address to dial instead."""

START_LIMIT_S = 60.0
_ANSWER_S = 2.0
_HEALTHY, _REPEATED = "envoy_cluster_membership_healthy", "envoy_cluster_upstream_rq_retry"
_REPLICAS = {"envoy_cluster_name": "replicas"}
_NOTHING: Mapping[str, object] = MappingProxyType({})


def direct(_source: str, _target: str, address: str) -> str:
    """Return the address: nothing is in between."""
    return address


class Fleet:
    """The members of a cluster. A context manager: all of them serve at its beginning, none is left at its end.

    Args:
        folder: for configurations, logs and Redis' data.
        bundles: folders to serve; None serves the shipped bundle.
        replicas: how many servers.
        settings: settings of the servers by name, beside those that make them a cluster.
        link: what is between the members; called once for each pair that talks.
        prometheus: whether there is one.
        envoy: whether it is started; without it ``front`` answers nobody.

    Attributes:
        redis: the store.
        replicas: the servers, ``replica-1`` and on.
        envoy: the balancer.
        prometheus: what scrapes them; None without.
        front: ``host:port`` where callers of the cluster call.
        metrics: ``host:port`` of each server's metrics, by its name.

    Raises:
        ProgramMissing: a program is not installed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        bundles: Sequence[Path] | None = None,
        replicas: int = 3,
        settings: Mapping[str, object] = _NOTHING,
        link: Link = direct,
        prometheus: bool = False,
        envoy: bool = True,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._link = link
        self._addresses = free_addresses()
        self._settings = {"engine_threads": 1, "snapshot_keys": _write_keys(folder), **settings}
        self._bundles = tuple(bundles or ())
        self._has_envoy = envoy
        self.metrics: dict[str, str] = {}
        self.redis = self._make_redis()
        self.replicas = [self._make_replica(f"replica-{number}") for number in range(1, replicas + 1)]
        self.envoy = self._make_envoy()
        self.front = link("client", "envoy", self.envoy.address)
        self.prometheus = self._make_prometheus() if prometheus else None

    @property
    def members(self) -> list[Member]:
        """Return those that are started, each behind what it needs."""
        after = (self.envoy if self._has_envoy else None, self.prometheus)
        return [self.redis, *self.replicas, *(each for each in after if each)]

    def start(self) -> None:
        """Start everything and wait until it serves.

        Raises:
            MemberFailed: a member did not; the others run.
        """
        _start([self.redis])
        _start(self.replicas)
        _start([each for each in self.members if each not in (self.redis, *self.replicas)])
        if self._has_envoy:
            self.wait_balanced(START_LIMIT_S)

    def stop(self, grace_s: float = 30.0) -> None:
        """Stop everything: servers drain while callers still reach them, the store goes last.

        Args:
            grace_s: seconds that each member has before it is told again.
        """
        _each(self.replicas, lambda member: member.stop(grace_s))
        for member in reversed(self.members):
            member.stop(grace_s)

    def wait_balanced(self, limit_s: float, *, servers: int | None = None) -> None:
        """Wait until Envoy gives calls to so many servers; None for every one.

        Raises:
            MemberFailed: it does not within so many seconds.
        """
        wanted = len(self.replicas) if servers is None else servers
        self.envoy.wait_until(lambda: self._read_envoy(_HEALTHY) == wanted, limit_s, f"does not have {wanted} servers")

    def count_repeated(self) -> int:
        """Return how many calls Envoy has sent to a second server so far."""
        return int(self._read_envoy(_REPEATED))

    def _read_envoy(self, name: str) -> float:
        page = _read_page(f"http://{self.metrics['envoy']}/stats/prometheus")
        samples = (each for family in text_string_to_metric_families(page) for each in family.samples)
        return sum(each.value for each in samples if each.name == name and _REPLICAS.items() <= each.labels.items())

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop(0.0)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(10.0 if kind is None else 0.0)

    def _make_redis(self) -> Member:
        address = next(self._addresses)
        host, _, port = address.rpartition(":")
        data = self._folder / "redis"
        data.mkdir(exist_ok=True)
        command = [str(find_program("redis-server")), "--bind", host, "--port", port, "--dir", str(data), "--save", ""]
        command += ["--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction"]
        return self._member("redis", address, command, lambda: _answers_ping(host, int(port)))

    def _make_replica(self, name: str) -> Member:
        address, metrics = next(self._addresses), next(self._addresses)
        self.metrics[name] = metrics
        store = f"redis://{self._link(name, 'redis', self.redis.address)}"
        command = [sys.executable, "-m", "unrolled_service", "--listen", address, "--metrics-listen", metrics]
        for bundle in self._bundles:
            command += ["--bundle", str(bundle.resolve())]
        for setting, value in {"store": store, **self._settings}.items():
            command += [f"--{setting.replace('_', '-')}", *(() if value is True else (str(value),))]
        return self._member(name, address, command, lambda: _answers_page(f"http://{metrics}/readyz"))

    def _make_envoy(self) -> Member:
        address, operators, admin = (next(self._addresses) for _ in range(3))
        self.metrics["envoy"] = operators
        upstream = [self._link("envoy", each.name, each.address) for each in self.replicas]
        file = self._folder / "envoy.yaml"
        file.write_text(yaml.safe_dump(front.configure(address, operators=operators, admin=admin, replicas=upstream)))
        command = [
            str(find_program("envoy")),
            "--config-path",
            str(file),
            "--use-dynamic-base-id",
            "--log-level",
            "warning",
        ]
        command += ["--concurrency", "1", "--file-flush-interval-msec", "200"]
        return self._member("envoy", address, command, lambda: _answers_page(f"http://{operators}/ready"))

    def _make_prometheus(self) -> Member:
        address = next(self._addresses)
        file = self._folder / "prometheus.yml"
        servers = [self.metrics[each.name] for each in self.replicas]
        file.write_text(yaml.safe_dump(scraping.configure({"unrolled": servers, "envoy": [self.metrics["envoy"]]})))
        command = [str(find_program("prometheus")), f"--config.file={file}", f"--web.listen-address={address}"]
        command += [f"--storage.tsdb.path={self._folder / 'prometheus'}"]
        return self._member("prometheus", address, command, lambda: _answers_page(f"http://{address}/-/ready"))

    def _member(self, name: str, address: str, command: Sequence[str], is_ready: Callable[[], bool]) -> Member:
        return Member(name, address, command, self._folder / f"{name}.log", is_ready)


def _start(members: Sequence[Member]) -> None:
    for member in members:
        member.start()
    for member in members:
        member.wait_ready(START_LIMIT_S)


def _each(members: Sequence[Member], act: Callable[[Member], object]) -> None:
    """Do something to all at once."""
    with ThreadPoolExecutor(max(1, len(members))) as pool:
        for _ in pool.map(act, members):
            pass


def _write_keys(folder: Path) -> Path:
    """Return the file of the key that signs snapshots; a folder that is used again keeps its own."""
    path = folder / "snapshot.keys"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(f"cluster:{secrets.token_hex(32)}\n")
    return path


def _answers_ping(host: str, port: int) -> bool:
    try:
        with Redis(host=host, port=port, socket_timeout=_ANSWER_S) as client:
            return bool(client.ping())
    except RedisError:
        return False


def _answers_page(url: str) -> bool:
    return bool(_read_page(url))


def _read_page(url: str) -> str:
    """Return a page's text; nothing where it does not answer, or not with success."""
    try:
        with urllib.request.urlopen(url, timeout=_ANSWER_S) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""
