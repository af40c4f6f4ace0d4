"""The plan of a survey, as the store keeps it."""

from typing import Literal

from lossmap.components.core.frozen import Frozen

Kind = Literal["loss", "trajectory", "convexity", "curvature"]


class Part(Frozen):
    """A part of a survey: something that has a value at points.

    Attributes:
        kind: `loss` on the plane of a pair of directions at (x, y); `trajectory`, the loss of the snapshot
            after epoch x of trail y; `convexity`, the Hessian's extreme eigenvalues at (x, y) of the first
            plane; `curvature` at the trained network, (0, 0).
        address: SHA-256 of what decides its values.
        plane: address of the plane's directions.
        pair: number of the pair of directions.
    """

    kind: Kind
    address: str
    plane: str
    pair: int = 0


class Trail(Frozen):
    """A path of weights: the snapshots of a training, or checkpoints that were imported.

    Attributes:
        training: address of the training in which they are kept.
        number: of the path in it.
        label: for people; empty where there is one path.
        checkpoints: names of the files, in order; empty where they are snapshots after epochs.
    """

    training: str
    number: int = 0
    label: str = ""
    checkpoints: tuple[str, ...] = ()

    def name(self, epoch: int) -> str:
        """What to call a snapshot."""
        return self.checkpoints[epoch - 1] if self.checkpoints else f"epoch {epoch}"


class Position(Frozen):
    """Where a snapshot of a trajectory lies with respect to the first plane.

    Attributes:
        epoch: after which it was taken; of an imported path, the number of the checkpoint, from 1 on.
        x: coordinate of its projection onto the plane.
        y: coordinate of its projection onto the plane.
        distance: Euclidean distance of its weights from the plane.
        length: Euclidean distance of its weights from the trained network.
        trail: number of its path among those of the survey.
    """

    epoch: int
    x: float
    y: float
    distance: float
    length: float
    trail: int = 0


class Survey(Frozen):
    """What a survey consists of. What of it is still to be evaluated follows from what the store has.

    Attributes:
        parts: the first is the loss on the plane that is drawn.
        positions: of the snapshots of all trails; empty where the plane has nothing to do with them.
        trails: the paths of weights that are shown on the plane.
        explained: shares of the trails' squared length along the two directions of a plane that is made of
            them; the plane's share where it is not.
        notes: what one has to know about the weights that move, in sentences.
    """

    parts: tuple[Part, ...]
    positions: tuple[Position, ...] = ()
    trails: tuple[Trail, ...] = ()
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
