"""A trained model on disk (`best.pt`): the weights to keep and what is known about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unrolled_export.checkpoint import FORMAT, read_tensors, write_tensors
from unrolled_export.config import ModelConfig, to_fields
from unrolled_export.errors import CheckpointError
from unrolled_export.evaluation import Evaluation
from unrolled_export.model import CharacterModel
from unrolled_export.vocabulary import Vocabulary

KIND = "unrolled.trained"
FILE_NAME = "best.pt"


@dataclass(frozen=True)
class Trained:
    """Hold a trained character model.

    Attributes:
        model: its shape.
        vocabulary: its characters.
        weights: f32 tensors by the name they have in `CharacterModel`.
        evaluation: the measurement on held-out text; None when none was held out.
        dataset: the held-out text in words, or the training text where nothing was held out.
        command: the command that made it, with file names only.
        settings: how it was trained, as plain numbers and strings.
        epoch: the epoch it is from, from 1.
        train_nats: training loss of that epoch, nats per character.
        sample: int64 `[n]`, the beginning of the held-out text, at most 2^20 tokens; the first token of the
            training text where nothing was held out.
    """

    model: ModelConfig
    vocabulary: Vocabulary
    weights: Mapping[str, Tensor]
    evaluation: Evaluation | None
    dataset: str
    command: str
    settings: Mapping[str, Any]
    epoch: int
    train_nats: float
    sample: Tensor

    def build(self) -> CharacterModel:
        """Make the model with these weights, in evaluation mode."""
        model = CharacterModel(self.model, len(self.vocabulary))
        model.load_state_dict(dict(self.weights))
        return model.eval()


def write_trained(path: Path, trained: Trained) -> None:
    """Write `trained` atomically."""
    content: dict[str, Any] = {
        "format": FORMAT,
        "kind": KIND,
        "model": to_fields(trained.model),
        "vocabulary": trained.vocabulary.characters,
        "weights": {name: weight.detach() for name, weight in trained.weights.items()},
        "evaluation": None if trained.evaluation is None else asdict(trained.evaluation),
        "settings": dict(trained.settings),
    }
    names = ("dataset", "command", "epoch", "train_nats")
    narrow = torch.uint8 if len(trained.vocabulary) <= 256 else torch.int32
    content |= {name: getattr(trained, name) for name in names} | {"sample": trained.sample.to(narrow)}
    write_tensors(path, content)


def read_trained(path: Path) -> Trained:
    """Read a trained model from its file, or from the folder of its run.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    file = path / FILE_NAME if path.is_dir() else path
    content = read_tensors(file, KIND)
    try:
        trained = _from_content(content)
        trained.build()
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{file} is damaged: its weights do not fit its settings") from error
    return trained


def _from_content(content: Mapping[str, Any]) -> Trained:
    measured = content["evaluation"]
    return Trained(
        model=ModelConfig(**content["model"]),
        vocabulary=Vocabulary(content["vocabulary"]),
        weights=content["weights"],
        evaluation=None if measured is None else Evaluation(**measured),
        dataset=content["dataset"],
        command=content["command"],
        settings=content["settings"],
        epoch=content["epoch"],
        train_nats=content["train_nats"],
        sample=content["sample"].long(),
    )
