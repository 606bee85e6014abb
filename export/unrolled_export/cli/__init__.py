"""The verbs of training and export as click commands.

Importing this package is light: torch, onnx and matplotlib are imported when a command runs.
"""

from unrolled_export.cli.exporting import export
from unrolled_export.cli.teaching import recipes
from unrolled_export.cli.training import train
from unrolled_export.cli.verifying import verify

__all__ = ["export", "recipes", "train", "verify"]
