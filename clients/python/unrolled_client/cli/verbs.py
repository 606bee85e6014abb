"""The verbs of `unrolled`. The programs know of each other only by these names."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

PROGRAMS = ("unrolled", "unrolled_client", "unrolled_export", "unrolled_service")


@dataclass(frozen=True)
class Verb:
    """Where a verb's command is, as "module:attribute", the extra that it needs, and one line about it."""

    path: str
    extra: str
    help: str


VERBS: Mapping[str, Verb] = MappingProxyType(
    {
        "serve": Verb("unrolled_service.cli:serve", "service", "Serve bundles over gRPC."),
        "token": Verb("unrolled_service.callers.issuing:token", "service", "Make a token that lets somebody call."),
        "generate": Verb("unrolled_client.cli.generate:generate", "cli", "Stream what a model writes or draws."),
        "step": Verb("unrolled_client.cli.step:step", "cli", "Answer every input with an output."),
        "classify": Verb("unrolled_client.cli.classify:classify", "cli", "Say what a sequence is."),
        "transduce": Verb("unrolled_client.cli.transduce:transduce", "cli", "Stream the answer to a sequence."),
        "evaluate": Verb("unrolled_client.cli.evaluate:evaluate", "cli", "Measure a bundle through a server."),
        "models": Verb("unrolled_client.cli.models:models", "cli", "List the bundles that a server serves."),
        "sessions": Verb("unrolled_client.cli.sessions:sessions", "cli", "List the sessions on a server."),
        "top": Verb("unrolled_client.cli.top:top", "cli", "Watch what a server does."),
        "fork": Verb("unrolled_client.cli.session:fork", "cli", "Make sessions that begin where one is."),
        "rewind": Verb("unrolled_client.cli.session:rewind", "cli", "Take a session back to an earlier position."),
        "snapshot": Verb("unrolled_client.cli.session:snapshot", "cli", "Write a session as portable bytes."),
        "restore": Verb("unrolled_client.cli.session:restore", "cli", "Make a session of a snapshot."),
        "recipes": Verb("unrolled_export.cli:recipes", "export", "List what can be trained by name."),
        "train": Verb("unrolled_export.cli:train", "export", "Train a recipe, or a model on a text file."),
        "export": Verb("unrolled_export.cli:export", "export", "Write a trained model as a bundle."),
        "verify": Verb(
            "unrolled_export.cli:verify", "service", "Check that a bundle is whole and gives its golden run."
        ),
        "inspect": Verb("unrolled_export.cli:inspect", "export", "Look into a trained model."),
        "wrap": Verb("unrolled_export.cli:wrap", "service", "Make a bundle of a foreign ONNX file."),
    }
)
