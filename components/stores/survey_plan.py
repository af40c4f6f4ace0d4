"""The plan of a survey, as the store keeps it."""

from typing import Literal

from lossmap.components.core.frozen import Frozen

Kind = Literal["loss", "trajectory", "convexity", "curvature"]


class Part(Frozen):
    """A part of a survey: something that has a value at points.

    Attributes:
        kind: `loss` on the plane of a pair of directions at (x, y); `trajectory`, the loss of the snapshot
            after epoch x; `convexity`, the Hessian's extreme eigenvalues at (x, y) of the first plane;
            `curvature` at the trained network, (0, 0).
        address: SHA-256 of what decides its values.
        plane: address of the plane's directions.
        pair: number of the pair of directions.
    """

    kind: Kind
    address: str
    plane: str
    pair: int = 0


class Position(Frozen):
    """Where a snapshot of the trajectory lies with respect to the first plane.

    Attributes:
        epoch: after which it was taken.
        x: coordinate of its projection onto the plane.
        y: coordinate of its projection onto the plane.
        distance: Euclidean distance of its weights from the plane.
        length: Euclidean distance of its weights from the trained network.
    """

    epoch: int
    x: float
    y: float
    distance: float
    length: float


class Survey(Frozen):
    """What a survey consists of. What of it is still to be evaluated follows from what the store has.

    Attributes:
        parts: the first is the loss on the plane that is drawn.
        positions: of the snapshots; empty where the plane has nothing to do with them.
        explained: shares of the trajectory's squared length along the two directions of the plane.
        notes: what one has to know about the weights that move, in sentences.
    """

    parts: tuple[Part, ...]
    positions: tuple[Position, ...] = ()
    explained: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def planes(self) -> tuple[Part, ...]:
        """The loss on each pair's plane, the one that is drawn first."""
        return tuple(part for part in self.parts if part.kind == "loss")

    @property
    def surfaces(self) -> tuple[str, ...]:
        """Addresses of the planes."""
        return tuple(part.address for part in self.planes)

    def part(self, kind: Kind) -> Part | None:
        """The first part of a kind."""
        return next((part for part in self.parts if part.kind == kind), None)
