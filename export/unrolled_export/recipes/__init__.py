"""What can be trained by name: a short file each, deterministic by seed, with data made or brought along.

This module is light; a recipe's own is imported when it is trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Recipe:
    """Describe a recipe.

    Attributes:
        shape: of its inputs and outputs over time.
        about: what it learns and from what.
        goal: the figure to reach on held-out data.
        module: where its `prepare` is; "" where it trains a character model on a text.
    """

    shape: str
    about: str
    goal: str
    module: str = ""


RECIPES = MappingProxyType(
    {
        "hello": Recipe("many to many", "four letters, one-hot, from the word itself", "h is continued with ello"),
        "shakespeare": Recipe("many to many", "a character model of TEXTFILE", "1.42 nats/char on tiny Shakespeare"),
        "digits-glimpses": Recipe(
            "many to one", "scikit-learn's digits, seen patch by patch", "accuracy 0.96", "digits_glimpses"
        ),
        "digits-draw": Recipe(
            "one to many", "a class in, its digit drawn in characters", "recognised 0.90", "digits_draw"
        ),
        "circles-quadrants": Recipe(
            "one to many", "a circle's place and size in, four quadrants out", "absolute_error 0.05", "circles"
        ),
        "tagger": Recipe("many to many, aligned", "kind of every letter of made-up text", "accuracy 0.99", "tagger"),
        "reverse": Recipe("encoder-decoder", "strings of letters, written backwards", "exact 0.98", "reverse"),
        "addition": Recipe(
            "encoder-decoder", "sums of two numbers below 100, digit by digit", "exact 0.98", "addition"
        ),
        "dates": Recipe("encoder-decoder", "dates in words, written as 2031-05-03", "exact 0.98", "dates"),
        "adding-problem": Recipe(
            "many to one", "two marked numbers of 200, added", "squared_error 0.01 (not with rnn)", "adding"
        ),
        "one-to-one": Recipe(
            "one to one", "scikit-learn's digits, seen whole, no state", "accuracy 0.96", "one_to_one"
        ),
    }
)
