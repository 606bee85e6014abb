"""What a server serves, as callers see it: frozen values that know nothing of the wire."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Port:
    """What a model takes or gives at each step.

    Attributes:
        kind: "token", "vector" or "label"; a kind that only a newer server knows is its number.
        width: how many tokens or labels there are, or how many numbers a vector has.
        names: the labels in their order, or the names of a vector's numbers if they have any; none with tokens.
    """

    kind: str
    width: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figure:
    """One number measured on data that a model was not trained on.

    Attributes:
        name: "accuracy", "exact", "squared_error", "absolute_error", or a name of the author's.
        value: the number; shares are 0 to 1.
        count: how many answers it is over.
    """

    name: str
    value: float
    count: int


@dataclass(frozen=True)
class ModelInfo:
    """A served bundle.

    Attributes:
        name: name that calls use.
        sha256: its identity, in lower-case hex.
        description: one line for people.
        task: "generate", "classify", "tag" (each input is answered by one output) or "transduce" (a sequence by
            another one); a task that only a newer server knows is its number.
        cell: "rnn", "gru", "lstm" or a name of the author's.
        layers: number of layers.
        hidden_size: units of each layer.
        embedding_size: size of the learned embedding; 0 for one-hot input.
        parameters: trained numbers in the model.
        vocabulary: the tokens that it reads and writes; none where it does neither.
        nats_per_char: mean negative log-likelihood on held-out text; None when unknown.
        figures: what was measured otherwise, the figure that it is judged by first.
        input: what a step takes.
        output: what a step gives.
        condition: what sets its first state; None where nothing does.
        source: what its encoder reads; None where there is no encoder.
        source_vocabulary: the tokens that its encoder reads; none where it reads no tokens.
        states: names of its states, for `Activations`.
        length: tokens or vectors of a whole answer; None where the caller says.
        has_start: a token or vector of its own is fed before anything else, and counts in positions.
    """

    name: str
    sha256: str
    description: str
    task: str
    cell: str
    layers: int
    hidden_size: int
    embedding_size: int
    parameters: int
    vocabulary: tuple[str, ...]
    nats_per_char: float | None
    figures: tuple[Figure, ...]
    input: Port
    output: Port
    condition: Port | None
    source: Port | None
    source_vocabulary: tuple[str, ...]
    states: tuple[str, ...]
    length: int | None
    has_start: bool
