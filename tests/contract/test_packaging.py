import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def _sources():
    return [path for folder in ("components", "pipelines") for path in (ROOT / folder).rglob("*.py")]


def test_every_package_is_named_in_pyproject_so_that_the_wheel_has_it():
    found = {
        f"lossmap.{path.parent.relative_to(ROOT).as_posix().replace('/', '.')}"
        for path in _sources()
        if path.name == "__init__.py"
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found


@pytest.mark.parametrize("name", ["components", "pipelines"])
def test_the_bare_names_say_how_to_import_instead(name):
    found = subprocess.run(
        [sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert f"ImportError: import lossmap.{name}, not {name}: run `pip install -e .`" in found.stderr


def test_the_command_line_starts_without_the_heavy_libraries():
    script = (
        "import sys, lossmap.pipelines.cli as cli; print(*sorted({name.partition('.')[0] for name in"
        " sys.modules}))"
    )
    loaded = set(subprocess.check_output([sys.executable, "-c", script], text=True).split())
    assert not loaded & {
        "torch",
        "torchvision",
        "mlflow",
        "kfp",
        "boto3",
        "matplotlib",
        "plotly",
        "sklearn",
        "numpy",
        "pydantic",
    }


@pytest.mark.parametrize("path", _sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_pickles(path):
    tree = ast.parse(path.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and ast.unparse(node) != "from joblib import cpu_count"
    }
    assert not imported & {"pickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not called & {"torch.save", "np.save", "numpy.load"}
    safe = {"np.load": {"allow_pickle": "False"}, "torch.load": {"weights_only": "True"}}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (needed := safe.get(ast.unparse(node.func))):
            assert (
                needed.items()
                <= {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}.items()
            )


def test_the_lock_names_no_package_index():
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    assert "index" not in lock.split("==")[0]
    assert PROJECT["project"]["version"]
    locked = {line.split("==")[0] for line in lock.splitlines() if "==" in line}
    wanted = {name.split(">")[0].split("[")[0].lower() for name in PROJECT["project"]["dependencies"]}
    assert wanted <= locked
