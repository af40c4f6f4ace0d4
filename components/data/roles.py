"""Which arrays of a file are inputs and which are targets, by the names that people give them."""

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from lossmap.components.core.errors import DataError

_INPUTS = ("inputs", "input", "x", "images", "image", "imgs", "img", "features", "feature", "data", "samples")
_TARGETS = ("targets", "target", "y", "labels", "label")
_SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "val": ("validation", "valid", "val", "dev"),
}
_SPLIT_WORDS = {word: split for split, words in _SPLITS.items() for word in words}
_EXPECTED = (
    "expected inputs and targets, and perhaps test_inputs and test_targets (or x and y, images and labels,"
    " features and target, each with train, val or test before or behind)"
)
T = TypeVar("T")


def split_of(word: str) -> str | None:
    """train, test or val, of the name of a file, a folder or an array; None where it is none of them."""
    return _SPLIT_WORDS.get(word.lower())


def by_role(values: Mapping[str, T], source: str) -> tuple[dict[str, T], list[str]]:
    """The same values under inputs, targets, and perhaps test_inputs and test_targets; and lines for people.

    Without a test set, the one for validation takes its place.

    Raises:
        DataError: one is missing, unknown, or there twice.
    """
    roles = {name: _role(name) for name in values}
    known = [role for role in roles.values() if role]
    splits = {split for split, _ in known}
    whole = len(set(known)) == len(values) and all(
        {(split, "inputs"), (split, "targets")} <= set(known) for split in splits
    )
    if not whole or "train" not in splits:
        raise DataError(f"{source} holds {', '.join(sorted(values)) or 'nothing'}, {_EXPECTED}")
    held = held_out(splits)
    prefixes = {"train": "", held: "test_"}
    chosen = {
        f"{prefixes[role[0]]}{role[1]}": values[name]
        for name, role in roles.items()
        if role and role[0] in prefixes
    }
    return chosen, told(held, splits, source)


def held_out(splits: Iterable[str]) -> str | None:
    """Which split is the test set: test, else val."""
    return next((split for split in ("test", "val") if split in splits), None)


def told(held: str | None, splits: Iterable[str], source: str) -> list[str]:
    """A line where that is not plain."""
    if held == "val":
        return [f"the test set is val of {source}"]
    return [f"val of {source} is passed over; the test set is test"] if "val" in splits else []


def _role(name: str) -> tuple[str, str] | None:
    """Split, and inputs or targets."""
    words = "|".join(_SPLIT_WORDS)
    kinds = "|".join((*_INPUTS, *_TARGETS))
    found = re.fullmatch(rf"(?:({words})[_.]?)?({kinds})(?:[_.]?({words}))?", name.lower())
    if not found or (found[1] and found[3]):
        return None
    split = _SPLIT_WORDS[found[1] or found[3]] if found[1] or found[3] else "train"
    return split, "inputs" if found[2] in _INPUTS else "targets"
