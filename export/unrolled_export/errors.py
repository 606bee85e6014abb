"""The mistakes that a caller can make, as exceptions with a sentence for people.

```
ExportError
├── CorpusError       a text that cannot be trained on
├── TrainingError     a run that cannot go on
├── CheckpointError   a file or folder that is not, or not the right, checkpoint
├── CellError         a cell whose exported form would not be what was trained
└── BundleError       a bundle, or the place for one, that is not as it should be
```
"""

from __future__ import annotations


class ExportError(Exception):
    """Base of every error that a caller of this package can cause."""


class CorpusError(ExportError):
    """Report a text that cannot be trained on: not UTF-8, too short, of one symbol."""


class TrainingError(ExportError):
    """Report a run whose numbers left the finite ones."""


class CheckpointError(ExportError):
    """Report a missing, foreign or damaged checkpoint, or a folder that already holds one."""


class CellError(ExportError):
    """Report a cell that does not keep the contract, or whose exported form gives other numbers."""


class BundleError(ExportError):
    """Report a bundle that is incomplete or damaged, or a place where none can be written."""
