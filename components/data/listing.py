"""Which files of a folder are the images of which class and split, and which are passed over."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from lossmap.components.config.manifest import Split
from lossmap.components.core.errors import DataError
from lossmap.components.data.decode import ENDINGS
from lossmap.components.data.roles import split_of

HIDDEN = "hidden"
OUTSIDE = "outside the class folders"
Entry = tuple[str, str]  # name of a file, and its class
_Parts = tuple[str, ...]
_Files = Mapping[str, _Parts]  # parts of each name below the folder around everything
_SHOWN = 2


@dataclass(frozen=True)
class Listing:
    """What is where.

    Attributes:
        entries: of each split the images; without a test split all of them are in train.
        passed_over: how many files are in no split: by their ending, hidden, outside, or by the folder of
            another split.
        notes: lines for people.
    """

    entries: dict[Split, list[Entry]]
    passed_over: dict[str, int]
    notes: tuple[str, ...]


def listing(names: Iterable[str], source: str) -> Listing:
    """Sort the files of a source: train/<class>/… and test/<class>/… (or val/…), or <class>/… alone. Folders
    below a class belong to it, as for torchvision's ImageFolder; folders may lie around everything.

    Args:
        names: of all files and folders, with / between their parts; a folder's name ends with /.
        source: for messages.

    Raises:
        DataError: the first thing that is wrong, in one line.
    """
    names = sorted(filter(None, names))  # a prefix in S3 may be an object itself
    visible = [name for name in names if not _is_hidden(name)]
    files = _below_what_is_around(visible)
    folders = _split_folders(files, source)
    roles, notes = _roles(folders, files)
    if not roles:
        _check_one_folder(folders, files, source)
    places: dict[Split, _Parts] = {split: (folder,) for split, folder in roles.items()} or {"train": ()}
    entries = {split: _entries(files, place, source) for split, place in places.items()}
    hidden = sum(_is_hidden(name) and not name.endswith("/") for name in names)
    passed = _passed_over(visible, entries, set(folders.values()) - set(roles.values()), files, hidden)
    told = _told(passed, source)
    return Listing(entries, {kind: len(found) for kind, found in passed.items()}, (*notes, *told))


def is_image(name: str) -> bool:
    """Whether a file has an ending that is read."""
    return name.lower().endswith(ENDINGS)


def _below_what_is_around(names: Sequence[str]) -> _Files:
    files = {name: PurePosixPath(name).parts for name in names}
    while True:
        tops = {parts[0] for name, parts in files.items() if is_image(name) and len(parts) > 1}
        deep = any(is_image(name) and len(parts) > 2 for name, parts in files.items())
        top = next(iter(tops), "")
        if len(tops) != 1 or not deep or split_of(top):
            return files
        files = {name: parts[1:] for name, parts in files.items() if parts[0] == top and len(parts) > 1}


def _split_folders(files: _Files, source: str) -> dict[str, str]:
    """Folders that are splits by what they are called. One with images in it, and not in folders below it, is
    a class: train beside bus and car.
    """
    found: dict[str, str] = {}
    for folder in sorted({parts[0] for name, parts in files.items() if len(parts) > 1 or name.endswith("/")}):
        split = split_of(folder)
        inside = [len(parts) for name, parts in files.items() if parts[0] == folder and is_image(name)]
        if split is None or inside.count(2) * 2 > len(inside):
            continue
        if split in found:
            raise DataError(f"{source} has {found[split]}/ and {folder}/, expected one of them; rename one")
        found[split] = folder
    return found


def _roles(folders: Mapping[str, str], files: _Files) -> tuple[dict[Split, str], list[str]]:
    """The folders of the training and the test split; one or none where they have to be divided."""
    if "train" not in folders and set(folders) == {"val", "test"}:
        note = f"the training split is {folders['val']}/, the test split {folders['test']}/"
        return {"train": folders["val"], "test": folders["test"]}, [note]
    others = [folders[split] for split in ("test", "val") if split in folders]
    if "train" not in folders or not others:
        only = next(iter(folders.values()), "")
        alone = bool(only) and len(_with_images(files)) <= 1
        return ({"train": only} if alone else {}), []
    classes = {folder: _labels(files, folder) for folder in folders.values()}
    train = folders["train"]
    test = next((folder for folder in others if classes[folder] == classes[train]), others[0])
    told = len(others) > 1 or split_of(test) != "test"
    return {"train": train, "test": test}, [f"the test split is {test}/"] if told else []


def _check_one_folder(folders: Mapping[str, str], files: _Files, source: str) -> None:
    tops = _with_images(files)
    if folders and not set(folders.values()) >= tops:
        raise DataError(
            f"{source} has {next(iter(folders.values()))}/ and beside it {', '.join(sorted(tops)[:_SHOWN])},"
            " expected train/ and test/ (or val/), or nothing but a folder for each class"
        )
    if len(tops) < 2:
        raise DataError(
            f"{source} has no images under train/<class>/, expected {', '.join(ENDINGS)} files there and"
            " under test/<class>/ (or val/<class>/), or in folders of two classes at least"
        )


def _with_images(files: _Files) -> set[str]:
    return {parts[0] for name, parts in files.items() if is_image(name) and len(parts) > 1}


def _labels(files: _Files, folder: str) -> set[str]:
    return {
        parts[1] for name, parts in files.items() if is_image(name) and len(parts) > 2 and parts[0] == folder
    }


def _entries(files: _Files, place: _Parts, source: str) -> list[Entry]:
    """The images below a split's folder, which is checked for classes without images."""
    depth, where = len(place), "".join(f"{part}/" for part in place)
    inside = {name: parts[depth:] for name, parts in files.items() if parts[:depth] == place}
    entries = [(name, rest[0]) for name, rest in inside.items() if is_image(name) and len(rest) > 1]
    if not entries:
        raise DataError(
            f"{source} has no images under {where}<class>/, expected {', '.join(ENDINGS)} files there"
        )
    labels = {label for _, label in entries}
    folders = {rest[0] for name, rest in inside.items() if len(rest) > 1 or (rest and name.endswith("/"))}
    for label in sorted(folders - labels):
        under = f" under {where}" if where else ""
        raise DataError(f"class {label} has no images in {source}{under}; add some or remove its folder")
    for name, label in entries:
        below = inside[name][1:-1]
        if any(map(split_of, below)):
            raise DataError(
                f"{name} in {source} is in a split below the class {label}, expected the classes below the"
                " splits: train/<class>/ and test/<class>/"
            )
    return entries


def _passed_over(
    visible: Sequence[str],
    entries: Mapping[Split, Sequence[Entry]],
    unused: set[str],
    files: _Files,
    hidden: int,
) -> dict[str, list[str]]:
    taken = {name for images in entries.values() for name, _ in images}
    passed: dict[str, list[str]] = {}
    for name in visible:
        if name in taken or name.endswith("/"):
            continue
        kind = PurePosixPath(name).suffix.lower() or "without an ending"
        if is_image(name):
            top = files.get(name, ("",))[0]
            kind = f"in {top}/" if top in unused else OUTSIDE
        passed.setdefault(kind, []).append(name)
    return passed | ({HIDDEN: [""] * hidden} if hidden else {})


def _told(passed: Mapping[str, Sequence[str]], source: str) -> list[str]:
    if not passed:
        return []
    parts = []
    for kind, names in passed.items():
        shown = f" ({', '.join(names[:_SHOWN])}{' …' if len(names) > _SHOWN else ''})" if names[0] else ""
        parts.append(f"{len(names)} {kind}{shown}")
    return [f"files passed over in {source}: {'; '.join(parts)}"]


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def check_classes(entries: Mapping[Split, Sequence[Entry]], source: str) -> None:
    """Refuse a class that one split has and the other has not.

    Raises:
        DataError: with the class.
    """
    if len(entries) < 2:
        return
    counts = {split: Counter(label for _, label in images) for split, images in entries.items()}
    for split, other in (("train", "test"), ("test", "train")):
        for label in sorted(set(counts[split]) - set(counts[other])):  # type: ignore[index]
            raise DataError(
                f"class {label} has images in {source} under {split}/ and none under {other}/; add some"
                " or remove the class"
            )
