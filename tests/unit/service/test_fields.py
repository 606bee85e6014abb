"""Fields that several requests share: what is read, and what a refusal says."""

import numpy as np
import pytest

from unrolled.v1.bundle_pb2 import MODALITY_TOKEN, MODALITY_VECTOR, Port, Vector
from unrolled.v1.generation_pb2 import Activations, GenerateRequest
from unrolled.v1.sequence_pb2 import Inputs
from unrolled_service.errors import InvalidField
from unrolled_service.graphs.state import StateSpec
from unrolled_service.models.vocabulary import Vocabulary
from unrolled_service.rpc.fields import read_activations, read_inputs, read_vectors, softmax

STATES = (
    StateSpec("h0", "new_h0", (2, 3), 0.0),
    StateSpec("c0", "new_c0", (300,), 0.0),
    StateSpec("h1", "new_h1", (256,), 0.0),
)
NOBODY = Vocabulary([])


def read(**asked: object) -> list[int]:
    request = GenerateRequest(activations=Activations(**asked))  # type: ignore[arg-type]
    places: list[int] = read_activations(request, STATES).tolist()
    return places


def test_units_are_places_in_the_flattened_state() -> None:
    assert read(state="h0") == [0, 1, 2, 3, 4, 5]
    assert read(state="h0", units=[5, 0, 5]) == [5, 0, 5]
    assert read(state="c0", units=[0, 299]) == [6, 305]
    assert read(state="h1") == list(range(306, 562))
    assert read(state="h1", units=[255] * 256) == [561] * 256
    assert not len(read_activations(GenerateRequest(), STATES))


@pytest.mark.parametrize(
    ("asked", "field", "limit"),
    [
        ({"state": "c0"}, "activations.units", "must be named: c0 has 300, more than 256"),
        ({"state": "c0", "units": [300]}, "activations.units[0]", "must be below 300, is 300"),
        ({"state": "h0", "units": [1, 6]}, "activations.units[1]", "must be below 6, is 6"),
        ({"state": "h1", "units": [0] * 257}, "activations.units", "must be at most 256, are 257"),
        ({"state": "h" * 100}, "activations.state", f"must be one of h0, c0, h1; is {'h' * 64!r}"),
        ({}, "activations.state", "must be one of h0, c0, h1; is ''"),
    ],
)
def test_units_that_are_none(asked: dict[str, object], field: str, limit: str) -> None:
    with pytest.raises(InvalidField) as caught:
        read(**asked)

    assert (caught.value.field, caught.value.description) == (field, limit)


def test_inputs_are_read_up_to_the_limit() -> None:
    tokens, vectors = Port(modality=MODALITY_TOKEN), Port(modality=MODALITY_VECTOR, width=2)
    rows = [Vector(values=[0.5, -1.0])] * 3

    assert read_inputs(Inputs(text="bab"), tokens, Vocabulary("ab"), 3, field="inputs").tolist() == [1, 0, 1]
    assert read_inputs(Inputs(), Port(), Vocabulary("ab"), 3, field="inputs").shape == (0,)
    assert read_inputs(Inputs(vectors=rows), vectors, NOBODY, 3, field="inputs").tolist() == [[0.5, -1.0]] * 3
    assert read_inputs(Inputs(), vectors, NOBODY, 3, field="inputs").shape == (0, 2)
    for given, port, part in ((Inputs(text="abab"), tokens, "text"), (Inputs(vectors=rows * 2), vectors, "vectors")):
        with pytest.raises(InvalidField, match=r"must have at most 3 inputs, has \d") as caught:
            read_inputs(given, port, Vocabulary("ab"), 3, field="inputs")
        assert caught.value.field == f"inputs.{part}"


def test_the_largest_float_is_finite() -> None:
    largest = float(np.finfo(np.float32).max)

    assert read_vectors([Vector(values=[largest, -largest])], 2, field="x").tolist() == [[largest, -largest]]


def test_probabilities_add_up_whatever_the_logits() -> None:
    assert softmax([1000.0, 1000.0]) == [0.5, 0.5]
    assert softmax([0.0, -2000.0]) == [1.0, 0.0]
    np.testing.assert_allclose(softmax([0.0, np.log(3.0)]), [0.25, 0.75])
