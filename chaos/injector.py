"""Does what was drawn: signals processes, starts them again, impairs links. On a thread of its own."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter

from chaos.faults import Fault
from chaos.history import Outage
from chaos.network import Network
from deploy.cluster.fleet import Fleet
from deploy.cluster.member import Member

READY_S = 60.0
_GRACE_S = 15.0
_SIGNALS = {"drain": signal.SIGTERM, "kill": signal.SIGKILL, "freeze": signal.SIGSTOP}


class Injector:
    """Faults of one run.

    Args:
        fleet: whose processes they hit.
        network: whose links they hit.
        note: takes each outage when it is over.
        began_s: the run's beginning, in monotonic seconds.
    """

    def __init__(self, fleet: Fleet, network: Network, note: Callable[[Outage], None], began_s: float) -> None:
        self._fleet = fleet
        self._network = network
        self._note = note
        self._began_s = began_s
        self._members = {member.name: member for member in (fleet.redis, *fleet.replicas)}
        self._is_stopped = threading.Event()

    def run(self, faults: Sequence[Fault]) -> None:
        """Let each fault happen in its time, and wait until everything serves again.

        Raises:
            MemberFailed: a process ended that was not to end, or does not come back.
        """
        begun: dict[Fault, float] = {}
        for at_s, fault in sorted(_times(faults), key=itemgetter(0)):
            if self._is_stopped.wait(max(0.0, at_s - self._now_s())):
                return
            if fault in begun:
                self._end(fault)
                self._note(Outage(fault.kind, fault.targets, begun[fault], self._now_s()))
            else:
                begun[fault] = self._now_s()
                self._begin(fault)
        for member in self._fleet.members:
            member.wait_ready(READY_S)

    def stop(self) -> None:
        """Let nothing more happen."""
        self._is_stopped.set()

    def _begin(self, fault: Fault) -> None:
        if fault.impairment is not None:
            source, target = fault.targets
            self._network.impair(source, target, fault.impairment)
        else:
            self._members[fault.targets[0]].signal(_SIGNALS[fault.verb])

    def _end(self, fault: Fault) -> None:
        if fault.impairment is not None:
            self._network.heal(*fault.targets)
            return
        member = self._members[fault.targets[0]]
        if fault.verb == "freeze":
            member.signal(signal.SIGCONT)
        else:
            self._restart(member)

    def _restart(self, member: Member) -> None:
        member.stop(_GRACE_S)
        member.start()
        if member is self._fleet.redis:
            member.wait_ready(READY_S)

    def _now_s(self) -> float:
        return time.monotonic() - self._began_s


def _times(faults: Sequence[Fault]) -> Iterator[tuple[float, Fault]]:
    for fault in faults:
        yield fault.begin_s, fault
        yield fault.end_s, fault
