"""Which files of weights a user means, in which order: files, folders of them, and patterns of names."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from glob import glob, has_magic
from pathlib import Path

from lossmap.components.config.models import Checkpoint, Trajectory
from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.notes import tell
from lossmap.components.data.files import split_key
from lossmap.components.importing.weight_files import INDEX, refuse_distributed
from lossmap.components.stores.objects import open_store

_ENDINGS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".pth.tar", ".t7")
_LABEL = re.compile(r"([^=/\\:*?\[]+)=(.+)")
_FEWEST = 2


def trajectories(words: Sequence[str]) -> list[Trajectory]:
    """Paths of checkpoints from words: [LABEL=]FILE[:KEY], where a folder or a pattern stands for its files.
    A word with a label begins a path, others go on with it.

    Files of a folder or a pattern are in natural order: 2 before 10. Files that are named one by one are in
    the order given, but for that in which a shell puts the names of its patterns (10 before 2): there, too,
    numbers count, and a line says so.

    Raises:
        ExperimentError: there is no such file, or a path has less than two.
    """
    groups: dict[str, list[str]] = {}
    label = ""
    for word in words:
        found, place = _labelled(word)
        label = found or label
        groups.setdefault(label, []).append(place)
    return [_trajectory(label, places) for label, places in groups.items()]


def weight_files(words: Sequence[str]) -> list[str]:
    """Files of weights that words name, in order; a folder or a pattern stands for its files.

    Raises:
        ExperimentError: there is no such file, or one is named twice.
    """
    files = [file for word in words for file in _files(word, "weights are")]
    _refuse_twice(files, "the files of weights name")
    return files


def weight_file(place: str) -> str:
    """The one file of weights that a place names; of a folder, the one in it. Any other place as it is.

    Raises:
        ExperimentError: the folder has none, or several.
    """
    if "://" in place or not Path(place).expanduser().is_dir():
        return place
    files = _files(place, "--weights is")
    if len(files) > 1:
        raise ExperimentError(f"--weights is {place!r}, which has {_short(files)}, expected one of them")
    return files[0]


def _labelled(word: str) -> tuple[str, str]:
    """Label and place; a word that names a file, as epoch=3.ckpt does, has no label."""
    match = _LABEL.fullmatch(word)
    return (match[1], match[2]) if match and not _there(word) else ("", word)


def _there(place: str) -> bool:
    path, _ = split_key(place)
    return "://" not in path and (Path(path).expanduser().exists() or (has_magic(path) and bool(glob(path))))


def _trajectory(label: str, places: Sequence[str]) -> Trajectory:
    files = [file for place in places for file in _files(place, "--checkpoints has")]
    if len(files) == len(places):
        files = _as_numbered(files)
    what = f"--checkpoints{f' of {label}' if label else ''}"
    if len(files) < _FEWEST:
        raise ExperimentError(
            f"{what} is one file ({files[0]}), expected two or more that make a path; for the network itself"
            " there is --weights"
        )
    _refuse_twice(files, f"{what} names")
    return Trajectory(label=label, checkpoints=tuple(Checkpoint(weights=file) for file in files))


def _refuse_twice(files: Sequence[str], what: str) -> None:
    twice = next((file for file in files if files.count(file) > 1), None)
    if twice:
        raise ExperimentError(f"{what} {twice} twice, expected each file once")


def _files(place: str, what: str) -> list[str]:
    path, key = split_key(place)
    found = _in_store(path) if path.startswith("s3://") else _on_disk(path)
    if not found:
        raise ExperimentError(
            f"{what} {place!r}, where no file of weights is; expected a file, a pattern such as 'run/*.pt',"
            f" or a folder with files that end in {', '.join(_ENDINGS)}"
        )
    return [f"{file}:{key}" if key else file for file in found]


def _on_disk(path: str) -> list[str]:
    place = Path(path.removeprefix("file://")).expanduser()
    if place.is_file():
        return [path]
    if place.is_dir():
        names = [each.name for each in place.iterdir()]
        refuse_distributed(path, names)
        return [str(place / name) for name in _of_weights(names)]
    found = (each for each in glob(str(place), recursive=True) if Path(each).is_file())
    return sorted(found, key=_natural)


def _in_store(uri: str) -> list[str]:
    folder, _, name = uri.rpartition("/")
    if name and not has_magic(name):
        return [uri]
    keys = [key for key in open_store(folder).keys("") if "/" not in key]
    if not name:
        refuse_distributed(uri, keys)
        return [f"{folder}/{key}" for key in _of_weights(keys)]
    chosen = [key for key in keys if fnmatchcase(key, name)]
    return [f"{folder}/{key}" for key in sorted(chosen, key=_natural)]


def _of_weights(names: Sequence[str]) -> list[str]:
    """Of the files in a folder those with weights, in natural order; an index stands for its parts."""
    indices = [name for name in names if name.lower().endswith(INDEX)]
    return sorted(indices or (name for name in names if name.lower().endswith(_ENDINGS)), key=_natural)


def _as_numbered(files: list[str]) -> list[str]:
    natural = sorted(files, key=_natural)
    if files != sorted(files) or files == natural:
        return files
    tell(
        f"checkpoints are in the order of their numbers, {_short(natural)}, and not of their letters, in"
        f" which a shell puts them: {_short(files)}"
    )
    return natural


def _short(files: Sequence[str]) -> str:
    names = [file.rpartition("/")[2] for file in files]
    return ", ".join(names if len(names) < 5 else [*names[:3], "…", names[-1]])


def _natural(name: str) -> list[tuple[int, str]]:
    """A key by which numbers in names count as numbers."""
    parts = re.findall(r"\d+|\D+", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
