"""Keeps tenants to what they may have: calls, sessions, tokens a second.

Calls and sessions are counted where they begin, and refused there. Tokens are paid for as they are computed: a tenant
that has had too many is refused new calls, and those that run rest until its budget is positive again. Runs on the
event loop; budgets are shared with the engines' threads.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from unrolled_service.errors import QuotaExceeded
from unrolled_service.settings import Settings
from unrolled_service.tenants.allowance import Allowance, read_allowances
from unrolled_service.tenants.budget import Budget
from unrolled_service.tenants.terms import Terms
from unrolled_service.watched import Watched

_BUDGETS = 1024  # that are kept whoever has them


class Quotas:
    """What tenants may have and what they have.

    Args:
        settings: what those may have that the file does not name, and the file.
        make_lock: makes what guards a budget that several threads use.
        clock: the engines' clock, seconds.

    Raises:
        TenantFileError: the file cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        make_lock: Callable[[], AbstractContextManager[object]] = nullcontext,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._defaults = Allowance.of_settings(settings)
        self._make_lock = make_lock
        self._clock = clock
        self._streams: Counter[str] = Counter()
        self._making: Counter[str] = Counter()
        self._budgets: dict[str, Budget] = {}
        self._most_budgets = _BUDGETS
        self._file: Watched[Mapping[str, Allowance]] | None = None
        if file := settings.tenants:
            self._file = Watched([file], partial(read_allowances, file, self._defaults), clock=clock)
        self._allowances: Mapping[str, Allowance] = self._file.current() if self._file else {}

    @contextmanager
    def stream(self, tenant: str) -> Iterator[None]:
        """Count a call for as long as the block runs.

        Raises:
            QuotaExceeded: the tenant has as many as it may, or has had too many tokens.
        """
        allowance = self._allowance_of(tenant)
        if allowance.streams is not None and self._streams[tenant] >= allowance.streams:
            raise QuotaExceeded(f"{allowance.streams} calls run or wait, more may not")
        budget = self._budget_of(tenant, allowance)
        if budget and (left_s := budget.seconds_left(self._clock())):
            raise QuotaExceeded(
                f"more than {allowance.tokens_per_s:g} tokens a second were fed and given", retry_after_s=left_s
            )
        with _counted(self._streams, tenant, 1):
            yield

    @contextmanager
    def sessions(self, tenant: str, number: int, held: int) -> Iterator[None]:
        """Reserve sessions for as long as the block runs, which makes them.

        Args:
            tenant: whose they are to be.
            number: how many.
            held: how many the tenant has.

        Raises:
            QuotaExceeded: it would have more than it may.
        """
        limit = self._allowance_of(tenant).sessions
        held += self._making[tenant]
        if limit is not None and held + number > limit:
            raise QuotaExceeded(f"{held} sessions of at most {limit} are there, {number} more are too many")
        with _counted(self._making, tenant, number):
            yield

    def terms(self, tenant: str, is_batch: bool = False) -> Terms:
        """Return on whose account a call runs."""
        allowance = self._allowance_of(tenant)
        return Terms(tenant, is_batch, allowance.weight, self._budget_of(tenant, allowance))

    def _allowance_of(self, tenant: str) -> Allowance:
        if self._file and (allowances := self._file.current()) is not self._allowances:
            self._allowances = allowances
            self._set_budgets()
        return self._allowances.get(tenant, self._defaults)

    def _budget_of(self, tenant: str, allowance: Allowance) -> Budget | None:
        if allowance.tokens_per_s is None:
            return None
        if tenant not in self._budgets:
            if len(self._budgets) >= self._most_budgets:
                self._drop_full_budgets()
            rate = allowance.tokens_per_s
            self._budgets[tenant] = Budget(rate, rate * allowance.burst_s, self._make_lock())
        return self._budgets[tenant]

    def _drop_full_budgets(self) -> None:
        """Let go of budgets that are as good as new: full, and of tenants without calls. Takes O(1), amortised."""
        now = self._clock()
        kept = {
            tenant: each for tenant, each in self._budgets.items() if tenant in self._streams or not each.is_full(now)
        }
        self._budgets, self._most_budgets = kept, max(_BUDGETS, 2 * len(kept))

    def _set_budgets(self) -> None:
        for tenant, budget in self._budgets.items():
            allowance = self._allowances.get(tenant, self._defaults)
            if allowance.tokens_per_s is not None:
                budget.set(allowance.tokens_per_s, allowance.tokens_per_s * allowance.burst_s)


@contextmanager
def _counted(counter: Counter[str], tenant: str, number: int) -> Iterator[None]:
    counter[tenant] += number
    try:
        yield
    finally:
        counter[tenant] -= number
        if not counter[tenant]:
            del counter[tenant]
