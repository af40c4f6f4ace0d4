"""Options that several commands have."""

from typing import TYPE_CHECKING, Annotated

import typer

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
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="change a field of the experiment, for example training.epochs=3"
    ),
]


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
