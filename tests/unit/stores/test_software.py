"""What a result is addressed by holds everything that decides it."""

import subprocess
import sys

import pytest

from lossmap.components.stores import software


@pytest.mark.parametrize(
    ("module", "packages"),
    [("training.main", software.TRAINING), ("surveys.plan", software.SURVEY)],
    ids=["training", "survey"],
)
def test_everything_that_computes_it_is_in_the_digest(module, packages):
    script = (
        f"import sys, lossmap.components.{module}; print(*(name for name in sys.modules if"
        " name.startswith('lossmap.components.')))"
    )
    loaded = {
        name.split(".")[2]
        for name in subprocess.check_output([sys.executable, "-c", script], text=True).split()
    }
    # what is asked for is in the task, and stores keep bytes
    assert loaded - set(packages) <= {
        "config",
        "stores",
    }


def test_other_code_is_other_software():
    assert software.software_of(software.TRAINING) == software.software_of(software.TRAINING)
    assert software.software_of(software.TRAINING) != software.software_of(software.SURVEY)
    assert software.software_of(software.TRAINING).startswith("torch-")


def test_an_environment_has_one_digest():
    script = "from lossmap.components.stores.software import environment_digest; print(environment_digest())"
    assert (
        subprocess.check_output([sys.executable, "-c", script], text=True).strip()
        == software.environment_digest()
    )
