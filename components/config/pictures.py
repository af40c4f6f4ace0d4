"""How the pictures of a run are drawn: the scale of the loss."""

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from lossmap.components.core.frozen import Frozen

ScaleName = Literal["auto", "log", "linear", "symlog"]


class Pictures(Frozen):
    """The scale of heights and colours, and the pages. It decides no number and no address: a survey is
    drawn anew.
    """

    scale: ScaleName = Field(
        "auto",
        description=(
            "scale of the loss: logarithmic, linear, symmetric logarithmic (for losses on both sides of "
            "0), or the one that the losses need"
        ),
    )
    limits: tuple[float, float] | None = Field(
        None,
        description="least and greatest loss on the scale; null: chosen by the losses",
    )
    light_page: bool = Field(
        False,
        description=(
            "pages in the store share one file with plotly (5 MB), which they need beside them; each then "
            "has some hundred KB"
        ),
    )

    @property
    def are_usual(self) -> bool:
        """Whether nothing is asked of the scale."""
        return self.scale == "auto" and self.limits is None

    @model_validator(mode="after")
    def _limits_are_possible(self) -> Self:
        if self.limits is None:
            return self
        low, high = self.limits
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"limits are {low:g} and {high:g}, expected finite numbers, the lesser first")
        if self.scale == "log" and low <= 0:
            raise ValueError(
                f"limits begin at {low:g} and scale is log, expected more than 0, or scale symlog or linear"
            )
        return self
