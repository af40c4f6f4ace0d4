"""What computes: the code of lossmap and the libraries beneath it, as digests."""

import hashlib
import platform
from importlib.metadata import distributions, version
from pathlib import Path

_COMPONENTS = Path(__file__).parents[1]
_ALWAYS = ("core", "data", "models")
_IMPORTING = tuple(f"landscape/{name}.py" for name in ("copies", "forward", "layers", "moving", "objective"))
TRAINING = (*_ALWAYS, "importing", *_IMPORTING, "training")
SURVEY = (*_ALWAYS, "landscape", "surveys")


def software_of(packages: tuple[str, ...]) -> str:
    """Version of torch, and digest of those packages of lossmap.components that a result is computed by.

    A result is computed again after any change to them, be it to a comment: to compute twice is better than
    to show what older code computed.
    """
    return f"torch-{version('torch')}-{_source_digest(packages)}"


def environment_digest() -> str:
    """SHA-256 over Python, every installed distribution, and all of lossmap's own code: what a container
    image comes to.
    """
    installed = sorted({f"{found.name}=={found.version}" for found in distributions()})
    parts = [platform.python_version(), platform.machine(), *installed, _source_digest(("",))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _source_digest(places: tuple[str, ...]) -> str:
    files = sorted({file for place in places for file in _files(_COMPONENTS / place)})
    digests = (
        f"{file.relative_to(_COMPONENTS).as_posix()} {hashlib.sha256(file.read_bytes()).hexdigest()}"
        for file in files
    )
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]


def _files(place: Path) -> list[Path]:
    return [place] if place.is_file() else list(place.rglob("*.py"))
