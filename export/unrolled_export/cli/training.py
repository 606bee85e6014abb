"""`unrolled train`: a text, or a recipe, becomes a folder with the best weights and a curve.

A first word that names a recipe means that recipe; a file of the same name is written `./tagger`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unrolled_export.cli.failure import failures_told
from unrolled_export.cli.teaching import teach
from unrolled_export.recipes import RECIPES

if TYPE_CHECKING:
    from unrolled_export.corpus import Corpus
    from unrolled_export.run import Run

CELLS = ["rnn", "gru", "lstm", "mingru", "minlstm"]
PROBABILITY = click.FloatRange(0, 1, max_open=True)
TEXT_DEFAULTS: dict[str, Any] = {
    "hidden": 32,
    "layers": 1,
    "learning_rate": 1e-2,
    "epochs": 300,
    "validation": 0.0,
    "weight_decay": 0.0,
}

SHAKESPEARE: dict[str, Any] = {
    "hidden": 448,
    "embedding": 128,
    "dropout": 0.35,
    "weight_dropout": 0.3,
    "epochs": 24,
    "learning_rate": 0.003,
    "average": 0.999,
}


@click.command()
@click.argument("what", required=False, metavar="[RECIPE]")
@click.argument("textfile", required=False, metavar="[TEXTFILE]")
@click.option("--text", help="Train on these words instead of a file.")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the run.",
)
@click.option("--cell", type=click.Choice(CELLS), default="lstm", show_default=True)
@click.option("--layers", type=click.IntRange(1, 16), default=2, show_default=True)
@click.option("--hidden", type=click.IntRange(1, 8192), default=256, show_default=True, help="Units of a layer.")
@click.option(
    "--embedding", type=click.IntRange(0, 8192), default=0, show_default=True, help="0 feeds one-hot vectors."
)
@click.option("--dropout", type=PROBABILITY, default=0.0, show_default=True, help="Between layers and on the output.")
@click.option("--weight-dropout", type=PROBABILITY, default=0.0, show_default=True, help="On the recurrent weights.")
@click.option("--input-dropout", type=PROBABILITY, default=0.0, show_default=True)
@click.option(
    "--streams",
    type=click.IntRange(1, 65536),
    default=64,
    show_default=True,
    help="Pieces of the text read side by side.",
)
@click.option(
    "--chunk",
    type=click.IntRange(1, 65536),
    default=100,
    show_default=True,
    help="Steps that a gradient goes back.",
)
@click.option("--epochs", type=click.IntRange(1), default=10, show_default=True)
@click.option(
    "--learning-rate",
    type=click.FloatRange(0, 10, min_open=True),
    default=2e-3,
    show_default=True,
    help="Peak.",
)
@click.option("--weight-decay", type=click.FloatRange(0, 10), default=0.01, show_default=True)
@click.option(
    "--clip",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Largest gradient norm.",
)
@click.option(
    "--average", type=PROBABILITY, default=0.0, show_default=True, help="Decay of averaged weights; 0 is off."
)
@click.option(
    "--validation",
    type=click.FloatRange(0, 0.9),
    default=0.1,
    show_default=True,
    help="Share held out at the end.",
)
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(1, 1024), help="Processor threads.  [default: torch's choice]")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=1, show_default=True)
@click.option("--checkpoint-every", type=click.FloatRange(0), default=60.0, show_default=True, metavar="SECONDS")
@click.option(
    "--patience",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Stop after so many epochs, or rounds, without a better loss; 0 is never.",
)
@click.option("--rounds", type=click.IntRange(1), help="Most rounds of a recipe.  [default: the recipe's]")
@click.option("--resume", is_flag=True, help="Continue the run in the folder, if there is one.")
@click.pass_context
def train(context: click.Context, /, **options: Any) -> None:
    """Train a character model on TEXTFILE, or what RECIPE says (`unrolled recipes` lists them).

    Stopping it (Ctrl-C, SIGTERM, or worse) loses nothing but the time since the last checkpoint, or a recipe's
    last round: the same command with --resume continues to the same weights.
    """
    recipe = _take_recipe(context, options)
    if recipe and RECIPES[recipe].module:
        given = {name for name in context.params if _is_given(context, name)}
        teach(recipe, {name: options.get(name) for name in given}, options, _command_line(context))
        return
    if (options["textfile"] is None) == (options["text"] is None):
        raise click.UsageError("give either TEXTFILE or --text, or the name of a recipe")
    if options["rounds"] is not None:
        raise click.UsageError("--rounds goes with a recipe: a text is read in --epochs")
    if options["weight_dropout"] and options["cell"] in {"mingru", "minlstm"}:
        raise click.UsageError(f"--weight-dropout does not go with {options['cell']}: it has no recurrent weights")
    command = _command_line(context)
    if options["text"] is not None:
        _make_small(context, options)
    elif recipe:
        options.update({name: value for name, value in SHAKESPEARE.items() if not _is_given(context, name)})
    with failures_told():
        run = _prepare(options, command)
        run.open(resume=options["resume"])
    _proceed(run, options)


def _take_recipe(context: click.Context, options: dict[str, Any]) -> str:
    """Tell a recipe's name and a text's path apart; leave the path in `options["textfile"]`."""
    what = options.pop("what")
    recipe = what if what in RECIPES else ""
    if not recipe:
        if options["textfile"] is not None:
            raise click.UsageError(f"{what!r} is not a recipe: `unrolled recipes` lists them")
        options["textfile"] = what
    if recipe == "hello":
        if options["text"] is not None:
            raise click.UsageError("the recipe hello has its own --text")
        options["text"] = "hello"
    if options["textfile"] is not None:
        kind = click.Path(exists=True, dir_okay=False, path_type=Path)
        options["textfile"] = kind.convert(options["textfile"], context.command.params[1], context)
    return recipe


def _make_small(context: click.Context, options: dict[str, Any]) -> None:
    """Replace the defaults by ones for a few words, and read them as one stream that is one chunk."""
    for name in ("streams", "chunk", "validation"):
        if _is_given(context, name):
            raise click.UsageError(f"--{name} does not go with --text: the text is one stream and one chunk")
    options.update({name: value for name, value in TEXT_DEFAULTS.items() if not _is_given(context, name)})
    options.update(streams=1, chunk=max(1, len(options["text"]) - 1))


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _command_line(context: click.Context) -> str:
    """Write the command again from the options given, files by their name alone."""
    from shlex import join  # noqa: PLC0415

    words = ["unrolled", "train"]
    for parameter in context.command.params:
        name, value = str(parameter.name), context.params[str(parameter.name)]
        if not _is_given(context, name) or name in {"resume", "threads", "checkpoint_every"}:
            continue
        if name not in {"what", "textfile"}:
            words.append("-o" if name == "output" else max(parameter.opts, key=len))
        words.append(value.resolve().name if isinstance(value, Path) else str(value))
    return join(words)


def _prepare(options: dict[str, Any], command: str) -> Run:
    from dataclasses import fields  # noqa: PLC0415

    import torch  # noqa: PLC0415

    from unrolled_export.config import ModelConfig, TrainingConfig  # noqa: PLC0415
    from unrolled_export.precision import resolve_precision  # noqa: PLC0415
    from unrolled_export.run import Run  # noqa: PLC0415
    from unrolled_export.training import Trainer  # noqa: PLC0415

    if options["threads"] is not None:
        torch.set_num_threads(options["threads"])
    corpus = _read_corpus(options)
    settings = {
        **options,
        "precision": resolve_precision(options["precision"], options["hidden"]),
        "moving_borders": options["text"] is None,
    }
    model = ModelConfig(**{item.name: settings[item.name] for item in fields(ModelConfig)})
    training = TrainingConfig(**{item.name: settings[item.name] for item in fields(TrainingConfig)})
    return Run(options["output"], Trainer(model, training, corpus), command, options["checkpoint_every"])


def _read_corpus(options: dict[str, Any]) -> Corpus:
    from unrolled_export.corpus import Corpus, read_text  # noqa: PLC0415

    if options["text"] is not None:
        return Corpus.of(options["text"], "--text", options["validation"])
    path: Path = options["textfile"]
    return Corpus.of(read_text(path), path.name, options["validation"])


def _proceed(run: Run, options: dict[str, Any]) -> None:
    from unrolled_export.cli.console import TrainingConsole  # noqa: PLC0415
    from unrolled_export.interruption import Interrupted, Interruption  # noqa: PLC0415

    with failures_told(), TrainingConsole() as console:
        console.introduce(run, options["output"])
        try:
            with Interruption() as interruption:
                trained = run.proceed(interruption, console)
        except Interrupted as interrupted:
            console.say_goodbye(interrupted, options["output"])
            sys.exit(128 + interrupted.signal_number)
        console.conclude(run, trained, options["output"])
