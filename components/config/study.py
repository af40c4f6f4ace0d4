"""A study: networks times levels of some factors times seeds, what is compared among them, and what is
said of them.
"""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from lossmap.components.core.frozen import Frozen, Name, canonical_json

Assignment = Annotated[str, Field(pattern=r"^[^=]+=", description="path.to.field=value, as after --set")]


class Contrast(Frozen):
    """Two networks whose measures are compared: the first minus the second."""

    network: Name = Field(description="label of the first network")
    against: Name = Field(description="label of the network whose mean is subtracted")


class Statement(Frozen):
    """Something that is said of the networks, and the rule by which these runs support it or do not.

    always     in every run of the network the measure is at least (at most) the bound, as far as its
               interval tells
    somewhere  in some run of the network the measure's whole interval is below the bound: in more runs than
               chance explains
    greater    the measure is greater for the network than for `against`: the difference of means over the
               seeds, with its corrected p-value
    less       the measure is less for the network than for `against`, judged in the same way
    often      in how many of all possible runs the measure is at most the bound: the interval of that share
               lies above one half
    """

    text: str = Field(min_length=1, description="the statement, as it is said")
    source: str = Field("", description="who says it")
    rule: Literal[
        "always-at-least", "always-at-most", "somewhere-below", "greater", "less", "often-at-most"
    ] = Field(
        description="when the runs support the statement",
    )
    measure: str = Field(description="name of the scalar that is judged")
    network: Name = Field(description="label of the network that the statement is about")
    against: Name | None = Field(
        None,
        description="label of the network that it is compared with, with rules greater and less",
    )
    bound: float | None = Field(
        None,
        description="number that the measure is held against, with all other rules",
    )

    @model_validator(mode="after")
    def _rule_has_what_it_needs(self) -> Self:
        comparing = self.rule in ("greater", "less")
        if comparing != (self.against is not None) or comparing == (self.bound is not None):
            expected = "against and no bound" if comparing else "a bound and no against"
            raise ValueError(
                f"rule is {self.rule}, against is {self.against} and bound is {self.bound}, expected"
                f" {expected}"
            )
        return self


class Study(Frozen):
    """Every combination of a network, one level of each factor, and a seed is a cell: a run of its own."""

    name: Name = Field(description="name of the study, which its runs begin with")
    title: str = Field(min_length=1, description="the question, in one line")
    networks: dict[Name, str] = Field(
        min_length=1,
        description="a recipe or the path of a YAML file for each label of a network",
    )
    network_assignments: dict[Name, tuple[Assignment, ...]] = Field(
        {},
        description="fields that are set for one network alone, by its label",
    )
    factors: dict[Name, dict[Name, tuple[Assignment, ...]]] = Field(
        {},
        description="fields that are set for each level of each factor",
    )
    assignments: tuple[Assignment, ...] = Field((), description="fields that are set in every cell")
    seeds: PositiveInt = Field(
        5,
        description="number of seeds, each of model, training, directions and samples alike",
    )
    first_seed: NonNegativeInt = Field(
        0,
        description=(
            "first of the seeds, which the others follow; what was found with some seeds is tested "
            "with others"
        ),
    )
    measures: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="names of the scalars that are compared, as `lossmap compare --json` has them",
    )
    contrasts: tuple[Contrast, ...] = Field(
        (),
        description="pairs of networks that are compared, at each level of the factors",
    )
    statements: tuple[Statement, ...] = Field(
        (),
        description="what is said of the networks and judged by the runs",
    )
    connections: NonNegativeInt = Field(
        0,
        description=(
            "number of pairs of seeds of each network, at each level, between which barriers are measured"
        ),
    )
    seed: NonNegativeInt = Field(0, description="which resamples and permutations are drawn")

    def digest(self) -> str:
        """SHA-256 of its canonical JSON."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json")).encode()).hexdigest()

    def assignments_of(self, network: str, levels: Mapping[str, str], seed: int) -> list[str]:
        """What is set for a cell after the study's own assignments: for its network, its levels and its
        seed, in this order.
        """
        of_levels = [
            assignment for factor, level in levels.items() for assignment in self.factors[factor][level]
        ]
        of_seed = [f"{section}.seed={seed}" for section in ("model", "training", "landscape")]
        return [*self.network_assignments.get(network, ()), *of_levels, *of_seed]

    @model_validator(mode="after")
    def _labels_are_known(self) -> Self:
        used = [label for contrast in self.contrasts for label in (contrast.network, contrast.against)]
        used += [
            label
            for statement in self.statements
            for label in (statement.network, statement.against)
            if label
        ]
        unknown = sorted({*used, *self.network_assignments} - set(self.networks))
        if unknown:
            raise ValueError(
                f"contrasts, statements and network_assignments name {', '.join(unknown)}, expected labels of"
                f" networks: {', '.join(self.networks)}"
            )
        if any(not levels for levels in self.factors.values()):
            raise ValueError("a factor has no levels, expected at least one")
        return self
