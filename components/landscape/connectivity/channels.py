"""Channels of a network that belong together, and where they are in a tensor."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Column:
    """A weight that reads channels along dimension 1.

    Attributes:
        name: of the parameter.
        repeat: neighbouring columns that belong to one channel: the number of pixels after a flattening, else
            1.
    """

    name: str
    repeat: int


@dataclass(eq=False)
class Channels:
    """Channels that belong together, found so far. Joined ones share a root, which has all that is known
    (union-find).
    """

    channels: int
    rows: list[str] = field(default_factory=list)
    columns: list[Column] = field(default_factory=list)
    norms: list[str] = field(default_factory=list)
    fixed: bool = False
    _parent: "Channels | None" = None

    def root(self) -> "Channels":
        """The one that stands for all that were joined."""
        node = self
        while node._parent is not None:
            node = node._parent
        return node

    def join(self, other: "Channels") -> None:
        """From now on both are the same channels."""
        one, two = self.root(), other.root()
        if one is not two:
            two._parent = one
            one.rows, one.columns, one.norms = (
                one.rows + two.rows,
                one.columns + two.columns,
                one.norms + two.norms,
            )
            one.fixed = one.fixed or two.fixed


@dataclass(frozen=True)
class Flow:
    """The channels of one tensor.

    Attributes:
        space: those that are permuted together.
        scale: those that are rescaled together: a BatchNorm's output has the same space as its input and a
            scale of its own.
        spatial: dimensions after the channel's; 0: the channel is the last dimension.
        flattened: each channel has several neighbouring columns.
    """

    space: Channels
    scale: Channels
    spatial: int
    flattened: bool = False

    def fix(self) -> None:
        """Neither permutation nor scale can change."""
        self.space.root().fixed = self.scale.root().fixed = True


# What is known of a tensor: its channels, or None if they are not followed.
Followed = Flow | None
