"""Options that several commands have."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
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
        help="MLflow tracking URI (else LOSSMAP_TRACKING, else a sqlite file in the store)",
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
