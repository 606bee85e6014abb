"""The arithmetic of the forward pass: which one, and how it is switched on."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal

import torch

from unrolled_export.config import Precision

SMALLEST_BF16_HIDDEN = 128


def resolve_precision(wanted: Literal["auto", "fp32", "bf16"], hidden: int) -> Precision:
    """Decide what "auto" means here: bf16 from 128 units on where the processor multiplies it natively."""
    if wanted != "auto":
        return wanted
    is_native = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return "bf16" if is_native and hidden >= SMALLEST_BF16_HIDDEN else "fp32"


def autocast(precision: Precision) -> AbstractContextManager[object]:
    """Run the block's matrix products in `precision`; weights and sums stay fp32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
