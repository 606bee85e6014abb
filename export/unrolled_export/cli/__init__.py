"""The verbs `train`, `export` and `verify` as click commands.

Importing this package is light: torch, onnx and matplotlib are imported when a command runs.
"""

from unrolled_export.cli.exporting import export
from unrolled_export.cli.training import train
from unrolled_export.cli.verifying import verify

__all__ = ["export", "train", "verify"]
