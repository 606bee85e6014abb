"""A run on disk: everything that the next update depends on.

Resuming from `checkpoint.pt` gives the weights of an uninterrupted run bit for bit, on the same machine and
with the same number of threads. Files are read with `weights_only=True`: they cannot carry code.
"""

from __future__ import annotations

import io
import pickle  # only for the name of an error  # nosec B403
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from unrolled_export.config import differing_fields, to_fields
from unrolled_export.curve import Curve, CurveRow
from unrolled_export.errors import CheckpointError
from unrolled_export.files import write_atomically
from unrolled_export.training import Progress, Trainer

FORMAT = 1
KIND = "unrolled.checkpoint"


def write_checkpoint(path: Path, trainer: Trainer, curve: Curve) -> None:
    """Write the run as it stands, atomically.

    Raises:
        OSError: the file cannot be written; an older one is untouched.
    """
    average = trainer.average
    write_tensors(
        path,
        {
            "format": FORMAT,
            "kind": KIND,
            "model": to_fields(trainer.model.config),
            "training": to_fields(trainer.config),
            "text_sha256": trainer.corpus.sha256,
            "vocabulary": trainer.corpus.vocabulary.characters,
            "weights": trainer.model.state_dict(),
            "average": None if average is None else {"updates": average.updates, "weights": average.weights},
            "optimiser": trainer.optimiser.state_dict(),
            "random_state": torch.get_rng_state(),
            "state": list(trainer.state),
            "progress": asdict(trainer.progress),
            "curve": {"rows": [asdict(row) for row in curve.rows], "seconds": curve.seconds},
        },
    )


def restore_checkpoint(path: Path, trainer: Trainer) -> Curve:
    """Bring `trainer`, made with the same settings and text, to where the checkpoint is.

    Returns:
        The curve so far.

    Raises:
        CheckpointError: the file is not a checkpoint, or is of other settings or of another text; the message
            names which.
    """
    saved = read_tensors(path, KIND)
    differing = differing_fields(trainer.model.config, saved["model"])
    differing += differing_fields(trainer.config, saved["training"])
    if differing:
        told = {**to_fields(trainer.model.config), **to_fields(trainer.config)}
        kept = {**saved["model"], **saved["training"]}
        words = ", ".join(f"{name} was {kept.get(name)} and is now {told[name]}" for name in differing)
        raise CheckpointError(f"{path} was made with other settings: {words}")
    if saved["text_sha256"] != trainer.corpus.sha256:
        raise CheckpointError(f"{path} was made with another text than {trainer.corpus.name}")
    trainer.model.load_state_dict(saved["weights"])
    trainer.optimiser.load_state_dict(saved["optimiser"])
    if trainer.average is not None:
        trainer.average.updates = saved["average"]["updates"]
        trainer.average.weights = saved["average"]["weights"]
    trainer.state = tuple(saved["state"])
    trainer.progress = Progress(**saved["progress"])
    torch.set_rng_state(saved["random_state"])
    return Curve([CurveRow(**row) for row in saved["curve"]["rows"]], saved["curve"]["seconds"])


def write_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """Write numbers, strings and tensors in torch's format, atomically."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    write_atomically(path, buffer.getvalue())


def read_tensors(path: Path, kind: str | None) -> dict[str, Any]:
    """Read what `write_tensors` wrote; with `kind` None whatever it is.

    Raises:
        CheckpointError: the file is missing, damaged, or not of this `kind` and format.
    """
    try:
        content = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} is not a checkpoint, or is damaged") from error
    if not isinstance(content, dict) or content.get("kind", "") not in {kind or content.get("kind")}:
        raise CheckpointError(f"{path} does not hold {kind or 'anything that was trained'}")
    if content.get("format") != FORMAT:
        raise CheckpointError(f"{path} has format {content.get('format')}; this version reads {FORMAT}")
    return content
