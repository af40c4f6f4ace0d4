"""Options that several commands have."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from lossmap.components.core.errors import ExperimentError

if TYPE_CHECKING:
    from lossmap.components.config.pictures import Pictures
    from lossmap.components.config.settings import Settings

Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URI",
        help="file:///folder or s3://bucket/prefix (else LOSSMAP_STORE, else ./lossmap-runs)",
    ),
]
Tracking = Annotated[
    str | None,
    typer.Option(
        "--tracking",
        metavar="URI",
        help="MLflow tracking URI (else LOSSMAP_TRACKING, MLFLOW_TRACKING_URI, a sqlite file in the store)",
    ),
]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="MODULE:FACTORY", help="function or class that returns the network"),
]
Arguments = Annotated[
    str,
    typer.Option("--factory-arguments", metavar="JSON", help="its keyword arguments, as a JSON object"),
]
Source = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="SOURCE",
        help="images: cifar10 …, folder, zip; tensors: .safetensors, .npz, .npy,.npy, .pt, .csv, .tsv",
    ),
]
Loss = Annotated[
    str, typer.Option("--loss", metavar="NAME", help="cross-entropy, mse, or package.module:function")
]
Study = Annotated[str, typer.Option("--study", help="the MLflow experiment in which the run is compared")]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="change a field of the experiment, for example training.epochs=3"
    ),
]

ScaleOf = Annotated[
    str | None,
    typer.Option("--scale", metavar="SCALE", help="of the loss in pictures: auto, log, linear or symlog"),
]
Limits = Annotated[
    tuple[float, float] | None,
    typer.Option("--limits", metavar="LOW HIGH", help="least and greatest loss on that scale"),
]


def many_words(*options: str) -> type[TyperCommand]:
    """A command, some of whose options take all words up to the next option, as a shell makes of a
    pattern.
    """

    class Command(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            return super().parse_args(ctx, spread(args, options))

    return Command


def spread(words: Sequence[str], options: Sequence[str]) -> list[str]:
    """Words of a command line, with an option of several words repeated before each of them."""
    spread, option, waits = list[str](), "", False
    for word in words:
        if word.startswith("-"):
            name, _, value = word.partition("=")
            option, waits = name if name in options else "", not value
        elif option and not waits:
            spread.append(option)
        else:
            waits = False
        spread.append(word)
    return spread


def settings_of(store: str | None, tracking: str | None) -> "Settings":
    """The environment's settings, changed by the options."""
    from lossmap.components.config.settings import Settings

    places = {"store": store, "tracking": tracking}
    return Settings.model_validate({name: place for name, place in places.items() if place})


def pictures_of(scale: str | None, limits: tuple[float, float] | None) -> "Pictures | None":
    """How the loss is drawn, as the options say; None where they say nothing.

    Raises:
        ExperimentError: they say what is impossible.
    """
    from pydantic import ValidationError

    from lossmap.components.config.pictures import Pictures

    if scale is None and limits is None:
        return None
    try:
        return Pictures.model_validate({"scale": scale or "auto", "limits": limits})
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"][:1] == ("scale",):
            raise ExperimentError(f"--scale is {scale}, expected auto, log, linear or symlog") from None
        raise ExperimentError(first["msg"].replace("Value error, limits", "--limits")) from None
