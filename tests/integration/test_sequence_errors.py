"""What SequenceService, and generation of other shapes than plain text, refuse: code, reason, field and method."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import grpc
import numpy as np
import pytest

from tests.support.calls import Calls, messages, pack_inputs
from tests.support.loop import Reader
from tests.support.reference import Shapes, check_close
from tests.support.refusals import check_invalid, refusal
from tests.support.serving import serving
from tests.support.shapes import KINDS, LENGTH, NAMES, WIDTH
from unrolled.v1.bundle_pb2 import Manifest, Vector
from unrolled.v1.generation_pb2 import DESCRIPTOR as GENERATION
from unrolled.v1.generation_pb2 import Activations, Conditioning, Sampling
from unrolled.v1.sequence_pb2 import DESCRIPTOR as SEQUENCE
from unrolled.v1.sequence_pb2 import ClassifyRequest, Inputs, StepRequest
from unrolled_service.engine import Engine
from unrolled_service.errors import InvalidField
from unrolled_service.models.bundle import Bundle
from unrolled_service.rows.generation import Generation
from unrolled_service.server import Server
from unrolled_service.settings import Settings

NAN, INF = float("nan"), float("inf")
FITS = {
    "tagger": {"Step"},
    "tagger-vectors": {"Step"},
    "stateless": {"Step"},
    "classifier": {"Classify"},
    "classifier-tokens": {"Classify"},
    "regressor": {"Classify"},
    "drawer": {"Generate"},
    "drawer-vector": {"Generate"},
    "composer": {"Generate", "Score"},
    "translator": {"Transduce"},
    "translator-plain": {"Transduce"},
    "translator-vectors": {"Transduce"},
    "alphabet": {"Generate", "Score"},
}
SERVICES = {
    method.name: f"{service.name}.{method.name}"
    for file, name in ((GENERATION, "GenerationService"), (SEQUENCE, "SequenceService"))
    for service in [file.services_by_name[name]]
    for method in service.methods
}
MATRIX = [(kind, method) for kind in FITS for method in SERVICES if method not in FITS[kind]]
HERE = pack_inputs(np.zeros((1, WIDTH)))
LIMITS = {"max_prompt_tokens": 5000, "engine_threads": 1, "max_tokens": 10**6}
METHODS: dict[str, Callable[[Calls, str], object]] = {
    "Step": lambda calls, model: calls.step(HERE, model=model),
    "Classify": lambda calls, model: calls.classify(HERE, model=model),
    "Transduce": lambda calls, model: calls.transduce(model=model, source=HERE),
    "Generate": lambda calls, model: calls.generate(model=model, prompt="a", max_tokens=1),
    "Score": lambda calls, model: calls.score(model=model, text="ab"),
}


def test_the_matrix_is_whole() -> None:
    assert {*FITS} == {*KINDS, "alphabet"}
    assert {*METHODS} == {*SERVICES}


@pytest.fixture(scope="module")
def server(shapes: Shapes, alphabet: Bundle) -> Iterator[Server]:
    with serving(*map(shapes.bundle, KINDS), alphabet, **LIMITS) as running:
        yield running


@pytest.fixture
def calls(server: Server) -> Iterator[Calls]:
    with grpc.insecure_channel(server.address) as channel:
        yield Calls(channel)


@pytest.mark.parametrize(("kind", "method"), MATRIX)
def test_a_method_that_a_bundle_is_not_for_names_the_one_that_is(calls: Calls, kind: str, method: str) -> None:
    refused = refusal(lambda: METHODS[method](calls, kind))

    fitting = SERVICES[next(iter(FITS[kind] - {"Score"}))]
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "TASK_MISMATCH")
    assert refused.method == fitting
    assert fitting in refused.text
    assert kind in refused.text


@pytest.mark.parametrize("kind", ["stateless", "translator", "translator-vectors"])
def test_a_bundle_with_nothing_to_keep_has_no_sessions(calls: Calls, kind: str) -> None:
    refused = refusal(lambda: calls.create(kind))

    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "TASK_MISMATCH")
    assert refused.method == SERVICES[next(iter(FITS[kind]))]


def vectors(*rows: list[float]) -> Inputs:
    return Inputs(vectors=[Vector(values=row) for row in rows])


def many(count: int) -> Inputs:
    return vectors(*[[0.0] * WIDTH] * count)


GOOD = [0.0] * WIDTH
VECTORS: dict[str, tuple[Inputs, str]] = {
    "too narrow": (vectors(GOOD, [0.0] * (WIDTH - 1)), "vectors[1].values"),
    "too wide": (vectors([0.0] * (WIDTH + 1)), "vectors[0].values"),
    "without numbers": (vectors(GOOD, GOOD, []), "vectors[2].values"),
    "not a number": (vectors(GOOD, [0.0, NAN, 0.0]), "vectors[1].values[1]"),
    "infinite": (vectors([0.0, 0.0, -INF]), "vectors[0].values[2]"),
    "a text": (Inputs(text="abc"), "text"),
    "both": (Inputs(text="abc", vectors=many(1).vectors), "text"),
    "too many": (many(4097), "vectors"),
}
TEXTS: dict[str, tuple[Inputs, str, str]] = {
    "vectors": (many(1), "INVALID_FIELD", "vectors"),
    "an unknown character": (Inputs(text="abz"), "UNKNOWN_CHARACTER", "text"),
    "too many": (Inputs(text="a" * 4097), "INVALID_FIELD", "text"),
}


@pytest.mark.parametrize("case", VECTORS)
def test_vectors_that_are_none_are_refused_wherever_they_come(calls: Calls, case: str) -> None:
    inputs, field = VECTORS[case]

    check_invalid(refusal(lambda: calls.step(inputs, model="stateless")), f"inputs.{field}")
    check_invalid(refusal(lambda: calls.classify(inputs, model="classifier")), f"inputs.{field}")
    check_invalid(refusal(lambda: calls.classify(many(2), inputs, model="regressor")), f"inputs.{field}")
    if case != "too many":
        check_invalid(refusal(lambda: calls.transduce(model="translator-vectors", source=inputs)), f"source.{field}")
    if not inputs.text:
        condition = Conditioning(label=NAMES[0])
        check_invalid(
            refusal(lambda: calls.generate(model="drawer", prompt_vectors=inputs.vectors, condition=condition)),
            f"prompt_{field}",
        )


@pytest.mark.parametrize("case", TEXTS)
def test_texts_that_are_none_are_refused_wherever_they_come(calls: Calls, case: str) -> None:
    inputs, reason, field = TEXTS[case]

    check_invalid(refusal(lambda: calls.step(inputs, model="tagger")), f"inputs.{field}", reason)
    check_invalid(refusal(lambda: calls.classify(inputs, model="classifier-tokens")), f"inputs.{field}", reason)
    if case != "too many":
        check_invalid(refusal(lambda: calls.transduce(model="translator", source=inputs)), f"source.{field}", reason)


def test_the_bounds_themselves_are_accepted(calls: Calls) -> None:
    assert sum(len(each.outputs) for each in calls.step(many(4096), model="stateless")) == 4096
    assert calls.classify(Inputs(text="a" * 4096), Inputs(text="a" * 904), model="classifier-tokens").inputs == 5000
    *_, end = calls.transduce(model="translator", source=Inputs(text="a" * 5000), max_tokens=1)
    assert end.finish.usage.prompt_tokens == 5001


TOTAL = "inputs: must be at most 5000 in all messages of a call together"


def test_what_is_classified_has_a_limit_over_all_messages(calls: Calls) -> None:
    more = refusal(lambda: calls.classify(many(4096), many(905), model="classifier"))
    source = refusal(lambda: calls.transduce(model="translator", source=Inputs(text="a" * 5001)))

    check_invalid(more, "inputs")
    assert more.text == TOTAL
    check_invalid(source, "source.text")


def test_the_limit_holds_for_the_first_message_too(shapes: Shapes) -> None:
    with (
        serving(shapes.bundle("classifier"), max_prompt_tokens=100) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        calls = Calls(channel)
        assert calls.classify(many(100)).inputs == 100
        check_invalid(refusal(lambda: calls.classify(many(101))), "inputs")


def test_calls_without_inputs(calls: Calls) -> None:
    nothing: list[Any] = []

    check_invalid(refusal(lambda: list(calls.sequences.Step(iter(nothing)))), "inputs")
    check_invalid(refusal(lambda: calls.sequences.Classify(iter(nothing))), "inputs")
    check_invalid(refusal(lambda: calls.classify(model="classifier")), "inputs")
    check_invalid(refusal(lambda: calls.transduce(model="translator")), "source")
    assert calls.step(model="tagger") == []


def test_messages_without_inputs(calls: Calls) -> None:
    for empty in (None, Inputs()):
        check_invalid(refusal(partial(calls.step, Inputs(text="a"), empty, model="tagger")), "inputs")
        check_invalid(refusal(partial(calls.classify, many(1), empty, model="classifier")), "inputs")
    assert [len(each.outputs) for each in calls.step(None, Inputs(text="a"), model="tagger")] == [1]
    assert calls.classify(None, many(2), model="classifier").inputs == 2


def test_an_opening_is_for_the_first_message_alone(calls: Calls) -> None:
    def twice(kind: type[Any], inputs: Inputs) -> Iterator[Any]:
        yield from messages(kind, {"model": "tagger" if kind is StepRequest else "classifier"}, [inputs])
        yield from messages(kind, {}, [inputs])

    check_invalid(refusal(lambda: list(calls.sequences.Step(twice(StepRequest, Inputs(text="a"))))), "opening")
    check_invalid(refusal(lambda: calls.sequences.Classify(twice(ClassifyRequest, many(1)))), "opening")


def test_names_of_an_opening(calls: Calls) -> None:
    inputs = Inputs(text="a")

    check_invalid(refusal(lambda: calls.step(inputs, model="m" * 129)), "opening.model")
    check_invalid(refusal(lambda: calls.step(inputs, session_id="s" * 65)), "opening.session_id")
    assert refusal(lambda: calls.step(inputs, model="nobody")).reason == "MODEL_NOT_FOUND"
    assert refusal(lambda: calls.step(inputs)).reason == "MODEL_NOT_FOUND"
    for model in ("tagger", ""):
        unknown = refusal(partial(calls.step, inputs, model=model, session_id="x" * 23))
        assert (unknown.code, unknown.reason) == ("NOT_FOUND", "SESSION_NOT_FOUND")


CONDITIONS: dict[str, tuple[str, Conditioning | None, str]] = {
    "no condition": ("drawer", None, "condition"),
    "no condition for text": ("composer", None, "condition"),
    "an empty condition": ("drawer", Conditioning(), "condition"),
    "a vector for a label": ("drawer", Conditioning(vector=Vector(values=[1.0])), "condition"),
    "a label for a vector": ("drawer-vector", Conditioning(label="low"), "condition"),
    "an unknown label": ("drawer", Conditioning(label="lowest"), "condition.label"),
    "a narrow vector": ("drawer-vector", Conditioning(vector=Vector(values=[1.0])), "condition.vector.values"),
    "no number": ("drawer-vector", Conditioning(vector=Vector(values=[1.0, NAN])), "condition.vector.values[1]"),
    "a condition where none is": ("alphabet", Conditioning(label="low"), "condition"),
}


@pytest.mark.parametrize("case", CONDITIONS)
def test_conditions(calls: Calls, case: str) -> None:
    model, condition, field = CONDITIONS[case]
    fields = {"prompt": "a", "max_tokens": 1} if model == "alphabet" else {}

    check_invalid(refusal(lambda: calls.generate(model=model, condition=condition, **fields)), field)
    if model in ("composer", "alphabet"):
        check_invalid(
            refusal(lambda: calls.score(model=model, text="ab" if fields else "uv", condition=condition)), field
        )


def test_a_condition_is_for_position_0(calls: Calls) -> None:
    session_id = calls.create("composer")
    condition = Conditioning(label=NAMES[1])
    fields = {"session_id": session_id, "prompt": "uvw", "max_tokens": 3, "condition": condition}
    *_, end = calls.generate(**fields)
    position = end.finish.position

    check_invalid(refusal(lambda: calls.generate(**fields)), "condition")
    assert calls.find(session_id).position == position
    calls.rewind(session_id, 0)
    check_invalid(refusal(lambda: calls.generate(**fields | {"condition": None})), "condition")
    *_, again = calls.generate(**fields)
    assert again.finish.position == position


@pytest.mark.parametrize(
    ("activations", "field"),
    [
        (Activations(), "state"),
        (Activations(state="h9"), "state"),
        (Activations(state="new_h0"), "state"),
        (Activations(state="h0", units=[7, 8]), "units[1]"),
        (Activations(state="c0", units=[2**32 - 1]), "units[0]"),
        (Activations(state="h0", units=[0] * 257), "units"),
    ],
)
def test_parts_of_a_state_that_are_none(calls: Calls, activations: Activations, field: str) -> None:
    asked = {"activations": activations}

    check_invalid(
        refusal(lambda: calls.step(Inputs(text="a"), model="tagger", **asked)), f"opening.activations.{field}"
    )
    condition = Conditioning(label=NAMES[0])
    check_invalid(
        refusal(lambda: calls.generate(model="composer", condition=condition, **asked)), f"activations.{field}"
    )
    check_invalid(
        refusal(lambda: calls.score(model="composer", text="uv", per_token=True, condition=condition, **asked)),
        f"activations.{field}",
    )


def test_a_cell_without_states_has_no_activations(calls: Calls) -> None:
    asked = Activations(state="h0")

    refused = refusal(lambda: calls.step(many(1), model="stateless", activations=asked))

    check_invalid(refused, "opening.activations.state")
    assert "none" in refused.text


def test_activations_of_a_score_need_its_tokens(calls: Calls) -> None:
    condition = Conditioning(label=NAMES[0])

    refused = refusal(
        lambda: calls.score(model="composer", text="uv", condition=condition, activations=Activations(state="h0"))
    )

    check_invalid(refused, "activations")


def test_a_score_reports_only_so_many_numbers(calls: Calls) -> None:
    whole = {"model": "composer", "text": "uv" * 2048, "condition": Conditioning(label=NAMES[0]), "per_token": True}
    fitting, too_many = (Activations(state="h0", units=[0] * units) for units in (128, 129))

    check_invalid(refusal(lambda: calls.score(activations=too_many, **whole)), "activations.units")
    assert len(calls.score(activations=fitting, **whole).activations) == 4096


def test_the_last_unit_and_all_of_them_are_reported_in_their_order(calls: Calls, shapes: Shapes) -> None:
    last = calls.step(Inputs(text="ab"), model="tagger", activations=Activations(state="c0", units=[7, 0, 7]))
    whole = calls.step(Inputs(text="ab"), model="tagger", activations=Activations(state="c0"))

    wanted = shapes.reference("tagger").read(np.array([0, 1])).states[:, 8:]
    check_close([list(output.activations) for each in whole for output in each.outputs], wanted)
    check_close([list(output.activations) for each in last for output in each.outputs], wanted[:, [7, 0, 7]])


OF_TEXT: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": "a"},
    "sampling": {"sampling": Sampling()},
    "stop": {"stop": ["a"]},
    "logprobs": {"logprobs": 1},
    "resumed_tokens": {"resumed_tokens": 1},
}


@pytest.mark.parametrize("field", OF_TEXT)
def test_what_is_for_text_is_refused_where_vectors_are_generated(calls: Calls, field: str) -> None:
    condition = Conditioning(label=NAMES[0])

    check_invalid(refusal(lambda: calls.generate(model="drawer", condition=condition, **OF_TEXT[field])), field)
    if field in ("sampling", "stop", "logprobs"):
        refused = refusal(lambda: calls.transduce(model="translator-vectors", source=many(1), **OF_TEXT[field]))
        check_invalid(refused, field)


def test_vectors_are_refused_where_text_is_generated(calls: Calls) -> None:
    refused = refusal(
        lambda: calls.generate(model="alphabet", prompt="a", max_tokens=1, prompt_vectors=many(1).vectors)
    )

    check_invalid(refused, "prompt_vectors")


def test_a_length_that_nobody_says(calls: Calls) -> None:
    check_invalid(refusal(lambda: calls.generate(model="alphabet", prompt="a")), "max_tokens")
    check_invalid(
        refusal(lambda: calls.transduce(model="translator", source=Inputs(text="a"), max_tokens=2**31)), "max_tokens"
    )
    *_, end = calls.generate(model="drawer", condition=Conditioning(label=NAMES[0]))
    assert end.finish.usage.generated_tokens == LENGTH


def test_vectors_without_a_start_need_a_prompt(shapes: Shapes) -> None:
    drawer = shapes.bundle("drawer")
    manifest = Manifest()
    manifest.CopyFrom(drawer.manifest)
    manifest.ClearField("feedback")
    engine = Engine([replace(drawer, manifest=manifest, condition=None)], Settings())

    with pytest.raises(InvalidField) as caught:
        engine.submit("", Generation(np.empty((0, WIDTH), np.float32), 1), Reader())

    assert caught.value.field == "prompt_vectors"
