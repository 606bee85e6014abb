"""The verbs of training and export as click commands.

Importing this package is light: torch, onnx and matplotlib are imported when a command runs.
"""

from unrolled_export.cli.exporting import export
from unrolled_export.cli.inspecting import inspect
from unrolled_export.cli.teaching import recipes
from unrolled_export.cli.training import train
from unrolled_export.cli.verifying import verify
from unrolled_export.cli.wrapping import wrap

__all__ = ["export", "inspect", "recipes", "train", "verify", "wrap"]
