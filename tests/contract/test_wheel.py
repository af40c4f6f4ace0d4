"""The built wheel alone: lossmap without its checkout."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    files = subprocess.check_output(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True
    ).split()
    for name in files:  # a copy, so that nothing an earlier build left in the checkout gets in
        if (
            name.startswith(("components", "pipelines", "pyproject.toml", "README.md", "LICENSE"))
            and (ROOT / name).exists()
        ):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-cache-dir",
        "--wheel-dir",
        folder,
        source,
    ]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """An interpreter that sees the wheel and the dependencies, but not the checkout."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    interpreter = folder / "bin/python"
    site = Path(
        subprocess.check_output(
            [interpreter, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
        ).strip()
    )
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "lossmap" not in entry.name and entry.suffix != ".pth":
            (site / entry.name).symlink_to(entry)
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        interpreter,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
    ]
    subprocess.run(command, check=True)
    return interpreter


def test_the_wheel_claims_one_name(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"lossmap", "lossmap-0.1.0.dist-info"}
    assert {"lossmap/components/py.typed", "lossmap/pipelines/py.typed"} <= set(names)


@pytest.mark.parametrize("arguments", [("--help",), ("recipes",), ("show", "digits-linear")], ids=" ".join)
def test_commands_answer_outside_the_checkout(python, tmp_path, arguments):
    found = _lossmap(python, tmp_path, *arguments)
    assert found.returncode == 0, found.stderr
    assert "digits-linear" in found.stdout or "Usage" in found.stdout


def test_a_whole_run_works_outside_the_checkout(python, tmp_path):
    small = [
        "--set",
        "landscape.plane={x: {points: 3}, y: {points: 3}}",
        "--set",
        "landscape.line=null",
        "--set",
        "training.epochs=1",
    ]
    found = _lossmap(python, tmp_path, "run", "blobs-mlp", *small)
    assert found.returncode == 0, found.stdout + found.stderr
    assert len(list(tmp_path.glob("lossmap-runs/runs/*/report/page.html"))) == 1


def _lossmap(python, cwd, *arguments):
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "VIRTUAL_ENV") and not name.startswith("LOSSMAP_")
    }
    return subprocess.run(
        [python.with_name("lossmap"), *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
