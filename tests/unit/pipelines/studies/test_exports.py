"""Studies that several machines run: what cells found, in a folder, and the report that is made from it."""

import json

import numpy as np
import pytest
from support.training import in_process
from typer.testing import CliRunner

from lossmap.components import steps
from lossmap.components.config.settings import Settings
from lossmap.components.config.study_file import parse_study
from lossmap.components.core.errors import ExperimentError, LossmapError
from lossmap.components.landscape.grid import Surface, from_npz
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.surveys import pool
from lossmap.components.surveys.stored_result import load_result
from lossmap.pipelines import local
from lossmap.pipelines.cli import app
from lossmap.pipelines.stages import silent_stage
from lossmap.pipelines.studies.cells import outcomes, study_cells
from lossmap.pipelines.studies.exports import export_cells, exported_outcomes
from lossmap.pipelines.studies.local import run_in_sequence

STUDY = {
    "name": "tiny",
    "title": "?",
    "networks": {"plain": "blobs-mlp", "path": "blobs-mlp"},
    "network_assignments": {"path": ["landscape.directions=trajectory"]},
    "assignments": [
        "data.blobs.train_per_class=30",
        "training.processes=1",
        "training.epochs=2",
        "landscape.samples=50",
        "landscape.plane.x.points=3",
        "landscape.plane.y.points=3",
        "landscape.line.points=5",
        "landscape.workers=1",
    ],
    "seeds": 2,
    "measures": ["test_error", "floor", "trajectory_explained"],
    "statements": [
        {
            "text": "It learns",
            "rule": "always-at-most",
            "measure": "train_error",
            "network": "plain",
            "bound": 0.5,
        }
    ],
}


@pytest.fixture(scope="module")
def sittings(tmp_path_factory):
    """A folder to which two machines, each with a store of its own, have exported one seed each; and the
    stores.
    """
    folder, stores = tmp_path_factory.mktemp("results"), []
    for seed in (0, 1):
        settings = Settings(store=str(tmp_path_factory.mktemp(f"machine{seed}")), tracking="none")
        cells = study_cells(parse_study({**STUDY, "seeds": 1, "first_seed": seed}))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(steps, "locally", in_process)
            patch.setattr(pool, "workers", pool.in_this_process)
            patch.setattr(local, "start_fork_server", lambda: None)
            assert run_in_sequence(cells, settings, silent_stage, lambda _line: None) == {}
        export_cells(open_store(settings.store), cells, folder)
        stores.append((open_store(settings.store), cells))
    return folder, stores


def test_what_was_exported_is_what_the_stores_have(sittings):
    folder, stores = sittings
    said = []
    found, missing = exported_outcomes(study_cells(parse_study({**STUDY, "seeds": 3})), folder, said.append)
    assert sorted(found, key=lambda each: each.cell.run) == sorted(
        (each for store, cells in stores for each in outcomes(store, cells)), key=lambda each: each.cell.run
    )
    assert [(cell.network, cell.seed) for cell in missing] == [("plain", 2), ("path", 2)]
    assert said == []
    assert found[1].scalars["trajectory_explained"] > 0


def test_surfaces_and_paths_are_those_of_the_survey(sittings):
    folder, [(store, cells), _] = sittings
    for cell in cells:
        result, place = load_result(Run(store, cell.run)), folder / f"{cell.network}-s0"
        for kind, [surface] in (("plane", result.planes), ("line", result.lines)):
            kept = Surface(**from_npz((place / f"{kind}-0.npz").read_bytes()))
            for name in ("x", "y", "loss", "error", "loss_standard_error", "evaluated", "interpolated"):
                np.testing.assert_array_equal(getattr(kept, name), getattr(surface, name))
            assert kept.group_losses.size == 0
        record = json.loads((place / "cell.json").read_text())
        assert [each["loss"] for each in record["path"]] == [each.loss for each in result.trajectory]
        assert record["training"]["precision"] == "float32"
        assert "store" not in json.dumps(record) and str(folder.parent) not in json.dumps(record)


def test_a_report_is_made_from_the_folder_alone(sittings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(json.dumps(STUDY))
    words = ["study", "tiny.yaml", "--from", str(sittings[0]), "--tracking", "none", "--json"]
    said = CliRunner().invoke(app, words, catch_exceptions=False)
    report = json.loads(said.stdout)
    assert [(run["network"], run["seed"]) for run in report["runs"]] == [
        ("plain", 0),
        ("path", 0),
        ("plain", 1),
        ("path", 1),
    ]
    assert report["missing"] == []
    assert (tmp_path / "lossmap-runs/studies/tiny/means.csv").is_file()


def test_what_is_not_the_studys_is_refused_or_told(sittings, tmp_path):
    folder, _ = sittings
    cells, said = study_cells(parse_study({**STUDY, "seeds": 1})), []
    exported_outcomes(cells, folder, said.append)
    others = "path-s1, plain-s1"
    assert said == [f"{folder} has other cells, too, which --seeds and --first-seed choose: {others}"]
    longer = study_cells(parse_study({**STUDY, "assignments": [*STUDY["assignments"], "training.epochs=3"]}))
    with pytest.raises(ExperimentError) as refused:
        exported_outcomes(longer, folder, said.append)
    assert str(refused.value) == (
        f"{folder}/plain-s0 was made with training.epochs 2, expected 3 as in the study; run that cell"
        " again, or name by --set what it was made with"
    )
    with pytest.raises(ExperimentError) as refused:
        exported_outcomes(cells, tmp_path, said.append)
    assert str(refused.value) == (
        f"{tmp_path} has none of the study's cells (plain-s0, path-s0 …); export some to it first"
    )


def test_cells_of_other_images_are_refused_and_those_of_other_machines_told(sittings, tmp_path):
    folder, _ = sittings
    cells, said = study_cells(parse_study(STUDY)), []
    records = [
        json.loads((folder / f"{cell.network}-s{cell.seed}/cell.json").read_text()) for cell in cells[:2]
    ]
    for cell, record, processor in zip(cells, records, ("one", "two"), strict=False):
        record["training"]["processor"] = processor
        _put(tmp_path, cell, record)
    exported_outcomes(cells, tmp_path, said.append)
    assert said == ["these cells were made by several processors: one (1 cells), two (1 cells)"]
    _put(tmp_path, cells[1], records[1] | {"dataset": "0" * 64})
    with pytest.raises(
        ExperimentError, match=r"are of several data sets \(000000000000, [0-9a-f]{12}\), expected one"
    ):
        exported_outcomes(cells, tmp_path, said.append)


def _put(folder, cell, record):
    place = folder / f"{cell.network}-s{cell.seed}"
    place.mkdir(exist_ok=True)
    (place / "cell.json").write_text(json.dumps(record))


def test_from_is_given_alone(tmp_path):
    with pytest.raises(LossmapError) as refused:
        CliRunner().invoke(
            app, ["study", "slides", "--from", str(tmp_path), "--submit"], catch_exceptions=False
        )
    assert str(refused.value) == "--from runs and exports nothing; give it alone"
