"""Budgets, limits of tenants, and the file that overrides them."""

import os
from pathlib import Path
from weakref import ref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.loop import Clock
from unrolled_service.errors import QuotaExceeded, TenantFileError
from unrolled_service.settings import Settings
from unrolled_service.tenants.allowance import Allowance, read_allowances
from unrolled_service.tenants.budget import Budget
from unrolled_service.tenants.quotas import Quotas


def make_quotas(clock: Clock | None = None, **options: object) -> Quotas:
    return Quotas(Settings(**options), clock=clock or Clock())  # type: ignore[arg-type]


def test_a_budget_allows_a_burst_then_its_rate() -> None:
    budget = Budget(rate=10.0, burst=20.0)

    assert budget.seconds_left(0.0) == 0
    budget.spend(19, 0.0)
    assert budget.seconds_left(0.0) == 0
    budget.spend(11, 0.0)
    assert budget.seconds_left(0.0) == pytest.approx(1.0)
    assert budget.seconds_left(1.0) == 0
    budget.spend(10, 1.0)
    assert budget.seconds_left(1.0) == pytest.approx(1.0)


def test_a_changed_rate_counts_from_now_on() -> None:
    budget = Budget(rate=10.0, burst=10.0)
    budget.spend(20, 0.0)
    budget.set(100.0, 100.0)

    assert budget.seconds_left(0.0) == pytest.approx(1.0)
    budget.spend(100, 1.0)
    assert budget.seconds_left(1.0) == pytest.approx(1.0)


@given(
    st.lists(st.tuples(st.floats(0, 3), st.integers(1, 50)), min_size=1, max_size=60),
    st.floats(1, 100),
    st.floats(1, 200),
)
def test_whoever_spends_only_what_is_there_keeps_the_rate(
    wishes: list[tuple[float, int]], rate: float, burst: float
) -> None:
    budget, now, spent = Budget(rate, burst), 0.0, 0
    for pause_s, tokens in wishes:
        now += pause_s
        now += budget.seconds_left(now)
        budget.spend(tokens, now)
        spent += tokens
        assert spent <= burst + rate * now + tokens + 1e-6


def test_calls_are_counted_while_they_run() -> None:
    quotas = make_quotas(tenant_streams=2)
    with quotas.stream("a"), quotas.stream("a"):
        with pytest.raises(QuotaExceeded, match="2 calls"), quotas.stream("a"):
            pass
        with quotas.stream("b"):
            pass
    with quotas.stream("a"):
        pass


def test_sessions_that_are_being_made_count() -> None:
    quotas = make_quotas(tenant_sessions=5)
    with quotas.sessions("a", 3, 1), pytest.raises(QuotaExceeded, match="4 sessions of at most 5"):
        quotas.sessions("a", 2, 1).__enter__()
    with quotas.sessions("a", 4, 1):
        pass


def test_a_tenant_that_had_too_many_tokens_is_told_when_to_come_back() -> None:
    clock = Clock()
    quotas = make_quotas(clock, tenant_tokens_per_s=10.0, tenant_burst_s=1.0)
    budget = quotas.terms("a").budget
    assert budget is not None
    assert quotas.terms("a").budget is budget
    budget.spend(25, clock.now)

    with pytest.raises(QuotaExceeded) as refused:
        quotas.stream("a").__enter__()
    assert refused.value.retry_after_s == pytest.approx(1.5)
    clock.now += 1.6
    with quotas.stream("a"):
        pass


def test_budgets_of_tenants_that_have_gone_are_dropped_unless_they_are_owed() -> None:
    clock = Clock()
    quotas = make_quotas(clock, tenant_tokens_per_s=10.0, tenant_burst_s=1.0)
    debtor, caller = quotas.terms("debtor").budget, quotas.terms("caller").budget
    assert debtor
    assert caller
    debtor.spend(1_000, clock.now)
    with quotas.stream("caller"):
        others = [ref(quotas.terms(f"tenant {i}").budget) for i in range(10_000)]
        assert sum(each() is not None for each in others) <= 1_024
        assert quotas.terms("debtor").budget is debtor
        assert quotas.terms("caller").budget is caller
    with pytest.raises(QuotaExceeded), quotas.stream("debtor"):
        pass


def test_nothing_is_bounded_by_default() -> None:
    quotas = make_quotas()
    assert quotas.terms("a").budget is None
    with quotas.sessions("a", 10**9, 10**9):
        for _ in range(1000):
            quotas.stream("a").__enter__()


def test_a_file_says_what_single_tenants_may_have(tmp_path: Path) -> None:
    file = tmp_path / "tenants.toml"
    file.write_text("[acme]\nstreams = 1\ntokens_per_s = 5\n[big]\nweight = 3\n")
    quotas = make_quotas(tenants=file, tenant_streams=2, tenant_tokens_per_s=100.0)

    with quotas.stream("acme"), pytest.raises(QuotaExceeded):
        quotas.stream("acme").__enter__()
    with quotas.stream("big"), quotas.stream("big"):
        pass
    assert (quotas.terms("acme").weight, quotas.terms("big").weight) == (1.0, 3.0)


def test_a_file_that_changes_is_read_again_and_one_that_breaks_changes_nothing(tmp_path: Path) -> None:
    file, clock = tmp_path / "tenants.toml", Clock()
    file.write_text("[a]\nweight = 2\ntokens_per_s = 10\n")
    quotas = make_quotas(clock, tenants=file)
    budget = quotas.terms("a").budget

    def rewrite(text: str) -> None:
        file.write_text(text)
        os.utime(file, ns=(int(clock.now * 1e9), int(clock.now * 1e9)))
        clock.now += 2

    rewrite("[a]\nweight = 5\ntokens_per_s = 1000\n")
    assert quotas.terms("a").weight == 5
    assert quotas.terms("a").budget is budget
    assert budget is not None
    budget.spend(4000, clock.now)
    assert budget.seconds_left(clock.now) == pytest.approx(2.0)
    rewrite("[a]\nweight = nonsense\n")
    assert quotas.terms("a").weight == 5
    file.unlink()
    clock.now += 2
    assert quotas.terms("a").weight == 5
    rewrite("")
    assert quotas.terms("a").weight == 1


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a = 1", "a is not a table"),
        ("[a]\nstream = 1", "a.stream: Extra inputs"),
        ("[a]\nstreams = -1", "a.streams: Input should be greater"),
        ("[a]\nstreams = 1.5", "a.streams: Input should be a valid integer"),
        ("[a]\ntokens_per_s = nan", "a.tokens_per_s: Input should be"),
        ("[a]\ntokens_per_s = 0", "a.tokens_per_s: Input should be greater"),
        ("[a]\nweight = 0", "a.weight: Input should be greater"),
        ("[a", "Expected"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_fault(text: str, fault: str, tmp_path: Path) -> None:
    file = tmp_path / "tenants.toml"
    file.write_text(text)

    with pytest.raises(TenantFileError) as refused:
        read_allowances(file, Allowance())
    assert str(refused.value).startswith(f"{file}: ")
    assert fault in str(refused.value)


def test_a_file_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(TenantFileError, match="No such file"):
        make_quotas(tenants=tmp_path / "none.toml")
