"""What programs may import from the client, and what the command line offers."""

import inspect
from importlib import import_module

import pytest

import unrolled_client
from unrolled_client.cli.verbs import PROGRAMS, VERBS


def test_the_public_names_are_sorted_and_there() -> None:
    assert unrolled_client.__all__ == sorted({*unrolled_client.__all__})
    assert {*unrolled_client.__all__} <= {*dir(unrolled_client)}


@pytest.mark.parametrize("name", unrolled_client.__all__)
def test_a_public_name_is_the_clients_own_and_documented(name: str) -> None:
    named = getattr(unrolled_client, name)
    assert named.__module__.startswith("unrolled_client.")
    assert inspect.getdoc(named)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_has_a_command(verb: str) -> None:
    module, _, attribute = VERBS[verb].path.partition(":")
    assert module.partition(".")[0] in PROGRAMS
    if module.startswith("unrolled_export"):
        pytest.importorskip("torch")
    assert callable(getattr(import_module(module), attribute))
