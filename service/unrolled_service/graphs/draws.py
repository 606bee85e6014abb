"""Randomness without state, as a part of the program: ``uniform(seed, position)``.

``position`` is the number of tokens before the one that is drawn. Two applications of the SplitMix64
finaliser (Steele, Lea & Flood, OOPSLA 2014) hash the pair; the top 24 bits, which float32 holds exactly,
are the number, in [0, 1). It is computed inside the graph because array arithmetic of this size lets go of
the interpreter's lock again and again, and waits for it each time.
"""

import numpy as np
from onnx import TensorProto, numpy_helper

from unrolled_service.graphs.nodes import FLOAT, INT64, Nodes

_UINT64 = TensorProto.UINT64
_GOLDEN_RATIO = 0x9E3779B97F4A7C15
_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT = 31
_DROPPED_BITS = 40


def draw_constants() -> list[TensorProto]:
    """Return the initializers that ``draw_uniform`` refers to."""
    shifts = {f"shift_{bits}": np.array(bits, np.uint64) for bits in (30, 27, _LAST_SHIFT, _DROPPED_BITS)}
    factors = {f"factor_{bits}": _signed(factor) for bits, factor in _ROUNDS}
    others = {
        "golden_ratio": _signed(_GOLDEN_RATIO),
        "unit": np.array(2.0**-24, np.float32),
        "first": np.int64(0),
        "single": np.int64(1),
    }
    values = {**shifts, **factors, **others}
    return [numpy_helper.from_array(np.asarray(value), f"draw/{name}") for name, value in values.items()]


def draw_uniform(outer: Nodes, steps: str) -> None:
    """Add the nodes that make ``uniform`` f32[K, B] of ``seed`` and ``position``, int64[B], and K."""
    key = _mix(outer, outer.add("Add", "seed", "draw/golden_ratio"))
    column = outer.add("Unsqueeze", outer.add("Range", "draw/first", steps, "draw/single"), "one_axis")
    place = outer.add("Mul", outer.add("Add", "position", column), "draw/golden_ratio")
    bits = outer.add("Cast", _mix(outer, outer.add("Add", key, place)), to=_UINT64)
    top = outer.add("BitShift", bits, f"draw/shift_{_DROPPED_BITS}", direction="RIGHT")
    outer.add("Mul", outer.add("Cast", top, to=FLOAT), "draw/unit", output="uniform")


def _mix(outer: Nodes, number: str) -> str:
    """Add the finaliser; products wrap around, which is the same for signed and unsigned numbers."""
    for bits, _ in _ROUNDS:
        number = outer.add("Mul", _xor_shifted(outer, number, bits), f"draw/factor_{bits}")
    return _xor_shifted(outer, number, _LAST_SHIFT)


def _xor_shifted(outer: Nodes, number: str, bits: int) -> str:
    unsigned = outer.add("Cast", number, to=_UINT64)
    shifted = outer.add("BitShift", unsigned, f"draw/shift_{bits}", direction="RIGHT")
    return outer.add("BitwiseXor", number, outer.add("Cast", shifted, to=INT64))


def _signed(number: int) -> np.int64:
    return np.uint64(number).astype(np.int64)
