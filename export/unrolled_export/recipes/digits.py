"""scikit-learn's handwritten digits (UCI, 1,797 images of 8 x 8), a third held out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

SIDE = 8
NAMES = [str(digit) for digit in range(10)]
DATASET = "a third of scikit-learn's digits, 599 images"
SPLIT_SEED = 0  # the same third for every recipe and seed: one model may judge another
VALIDATION = 200


@dataclass(frozen=True)
class Digits:
    """Hold images f32 `[N, 8, 8]`, 0 to 1, and what they show, int64 `[N]`."""

    images: Tensor
    labels: Tensor


def read_digits() -> tuple[Digits, Digits, Digits]:
    """Give the images to train on, those that decide when to stop, and the held-out third."""
    images, labels = load_digits(return_X_y=True)
    pixels: NDArray[np.float32] = (images / 16).astype(np.float32)
    train, test, known, wanted = train_test_split(
        pixels, labels, test_size=1 / 3, random_state=SPLIT_SEED, stratify=labels
    )
    every = _to_digits(train, known)
    learn = Digits(every.images[VALIDATION:], every.labels[VALIDATION:])
    return learn, Digits(every.images[:VALIDATION], every.labels[:VALIDATION]), _to_digits(test, wanted)


def draw_noisy(digits: Digits, size: int, noise: float = 0.1) -> Digits:
    """Draw images and add normal noise of a deviation of `noise`."""
    chosen = torch.randint(len(digits.labels), (size,))
    images = digits.images[chosen]
    return Digits((images + noise * torch.randn(images.shape)).clamp(0, 1), digits.labels[chosen])


def _to_digits(pixels: NDArray[np.float32], labels: NDArray[np.int64]) -> Digits:
    return Digits(torch.from_numpy(pixels).view(-1, SIDE, SIDE), torch.from_numpy(labels).long())
