"""One run: a cluster, callers, faults, and what came of it."""

import asyncio
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from chaos.callers import Caller, Desk
from chaos.checker import Verdict, check
from chaos.faults import Fault, draw_faults
from chaos.history import Recorder, read_history
from chaos.injector import Injector
from chaos.network import Network
from chaos.tapes import Tape, make_bundles, make_tapes
from deploy.cluster.fleet import Fleet
from unrolled_client import AsyncClient

HISTORY = "history.jsonl"
SETTINGS: Mapping[str, object] = {"store_interval_s": 0.5, "store_lease_s": 2, "drain_grace_s": 2}
_CONNECTIONS = 4
# Each connection is one of its own, and takes little text that nobody has read yet.
_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0))


@dataclass(frozen=True)
class Plan:
    """What to do.

    Attributes:
        seconds: for how long faults happen.
        sessions: callers at once.
        seed: of faults, tapes, and what callers do.
        replicas: servers.
        length: about how many tokens a caller hears of one session.
    """

    seconds: float
    sessions: int
    seed: int
    replicas: int = 3
    length: int = 2000


def run(plan: Plan, folder: Path, say: Callable[[str], None]) -> tuple[Verdict, Sequence[Fault]]:
    """Make a run and return what came of it, and the faults that there were.

    Args:
        plan: what to do.
        folder: for bundles, which are kept, and for the record and the processes' logs of this run.
        say: takes words about what happens now.
    """
    say("what is to be heard is written down")
    tapes = make_tapes(make_bundles(folder), plan.seed, plan.sessions, plan.length)
    faults = draw_faults(plan.seed, plan.seconds, plan.replicas)
    cluster = folder / "cluster"
    shutil.rmtree(cluster, ignore_errors=True)
    bundles = make_bundles(folder)
    with Network() as network:
        fleet = Fleet(cluster, bundles=bundles, replicas=plan.replicas, settings=SETTINGS, link=network.link)
        with fleet, (folder / HISTORY).open("w") as file:
            asyncio.run(_play(plan, tapes, faults, fleet, network, Recorder(file), say))
    return check({tape.name: tape for tape in tapes}, read_history(folder / HISTORY)), faults


async def _play(
    plan: Plan,
    tapes: Sequence[Tape],
    faults: Sequence[Fault],
    fleet: Fleet,
    network: Network,
    recorder: Recorder,
    say: Callable[[str], None],
) -> None:
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(AsyncClient(fleet.front, options=_OPTIONS)) for _ in range(_CONNECTIONS)
        ]
        desk = Desk(clients, recorder.note, time.monotonic())
        injector = Injector(fleet, network, recorder.note, desk.began_s)
        is_over = asyncio.Event()
        async with asyncio.TaskGroup() as callers:
            for number, tape in enumerate(tapes):
                callers.create_task(Caller(number, tape, desk, plan.seed).play(is_over))
            say(f"{len(faults)} faults in {plan.seconds:g} s")
            try:
                await asyncio.to_thread(injector.run, faults)
            finally:
                injector.stop()
            say("calm: every session is read to its end")
            is_over.set()
