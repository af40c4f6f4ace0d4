"""A digest changes with every file that decides what a name computes, and with no other."""

import importlib
import sys

import pytest

from lossmap.components.core import code
from lossmap.components.core.code import is_own, sources_sha256

FILES = {
    "net_of_mine.py": (
        "import blocks_of_mine.layers as layers, distribution_of_others\n"
        "from blocks_of_mine import *\n"
        "def make():\n"
        "    from late_of_mine import late\n"
        "    import importlib\n"
        "    return importlib.import_module('named_of_mine')\n"
        "if False:\n"
        "    import never_of_mine, not_installed_anywhere\n"
    ),
    "blocks_of_mine/__init__.py": "from .layers import one\n",
    "blocks_of_mine/layers.py": "from ..blocks_of_mine import extra\nfrom . import deep\none = 1\n",
    "blocks_of_mine/extra.py": "",
    "blocks_of_mine/deep/__init__.py": "from .. import extra\nfrom .leaf import *\n",
    "blocks_of_mine/deep/leaf.py": "leaf = 1\n",
    "late_of_mine.py": "from space_of_mine.inside import inside\nlate = 1\n",
    "space_of_mine/inside.py": "inside = 1\n",
    "named_of_mine.py": "import net_of_mine\n",
    "never_of_mine.py": "import this is no Python",
    "other_of_mine.py": "import net_of_mine\n",
}
REACHED = sorted(set(FILES) - {"other_of_mine.py"})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Modules of a user's, beside an installed package."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    installed = tmp_path / "site-packages"
    (installed / "distribution_of_others").mkdir(parents=True)
    (installed / "distribution_of_others/__init__.py").write_text("import other_of_mine\n")
    _install(installed, "1.0")
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(installed), *sys.path])
    importlib.invalidate_caches()
    code._distributions.cache_clear()
    yield tmp_path
    code._distributions.cache_clear()


def _install(place, version):
    metadata = place / "Others-1.0.dist-info"
    metadata.mkdir(exist_ok=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: Others\nVersion: {version}\n")
    (metadata / "top_level.txt").write_text("distribution_of_others\n")


@pytest.mark.parametrize("name", REACHED)
def test_every_module_that_is_imported_however_counts(name, folder):
    before = sources_sha256(["net_of_mine"])
    assert sources_sha256(["net_of_mine"]) == before
    (folder / name).write_text(FILES[name] + "# a comment\n")
    assert sources_sha256(["net_of_mine"]) != before


def test_other_modules_and_the_files_of_installed_packages_do_not_count(folder):
    before = sources_sha256(["net_of_mine"])
    for name in ("other_of_mine.py", "site-packages/distribution_of_others/__init__.py"):
        (folder / name).write_text("changed = True\n")
    assert sources_sha256(["net_of_mine"]) == before


def test_the_version_of_an_installed_package_counts(folder):
    before = sources_sha256(["net_of_mine"])
    _install(folder / "site-packages", "1.1")
    code._distributions.cache_clear()
    assert sources_sha256(["net_of_mine"]) != before


def test_a_module_that_has_the_name_of_one_of_pythons_counts(folder, monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    before = sources_sha256(["other_of_mine"])
    (folder / "other_of_mine.py").write_text("import colorsys\n")
    other = sources_sha256(["other_of_mine"])
    (folder / "colorsys.py").write_text("mine = 1\n")
    importlib.invalidate_caches()
    own = sources_sha256(["other_of_mine"])
    (folder / "colorsys.py").write_text("mine = 2\n")
    assert len({before, other, own, sources_sha256(["other_of_mine"])}) == 4


def test_nothing_is_imported(folder):
    sources_sha256(["net_of_mine"])
    assert not [name for name in sys.modules if name.endswith("_of_mine") or name == "distribution_of_others"]


@pytest.mark.parametrize("name", ["torch", "json", "lossmap.components.core.code", "builtins", "_nowhere"])
def test_what_is_installed_or_pythons_or_ours_is_not_the_users_own(name):
    assert not is_own(name)


def test_a_module_in_a_folder_is_the_users_own(folder):
    assert is_own("blocks_of_mine.deep")
    assert is_own(__name__)
