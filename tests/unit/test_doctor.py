import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lossmap.pipelines.doctor import examine


@pytest.fixture
def findings_of():
    return lambda store, tracking: {finding.name: finding for finding in examine(store, tracking)}


def test_a_sound_installation_is_well_and_leaves_nothing_behind(tmp_path, findings_of):
    found = findings_of(tmp_path.as_uri(), f"sqlite:///{tmp_path}/mlflow.db")
    assert [finding for finding in found.values() if not finding.ok] == []
    assert found["Python"].detail.startswith(f"{sys.version_info.major}.{sys.version_info.minor}")
    assert found["store"].detail == tmp_path.as_uri()
    assert found["MLflow"].detail == f"{tmp_path}/mlflow.db: the first run makes it"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_is_out_of_reach_is_said_with_its_cure(tmp_path, findings_of, s3):
    (tmp_path / "file").write_text("no folder, and no database")
    found = findings_of(f"{tmp_path.as_uri()}/file/below", f"sqlite:///{tmp_path}/file")
    assert not found["store"].ok
    assert found["store"].detail.startswith(f"{tmp_path}/file/below/doctor/")
    assert "cannot be written: Not a directory" in found["store"].detail
    assert (found["MLflow"].ok, found["MLflow"].detail) == (False, f"{tmp_path}/file is no MLflow database: file is not a database")
    found = findings_of(s3.replace("lossmap-tests", "no-such-bucket"), "http://user:secret@127.0.0.1:9")
    assert "the bucket does not exist" in found["store"].detail
    assert (found["MLflow"].ok, "refused" in found["MLflow"].detail, "secret" in str(found)) == (False, True, False)
    assert all(finding.cure for finding in found.values() if not finding.ok)


def test_the_command_prints_a_table_or_json_and_fails_where_something_is_not_well(tmp_path):
    lossmap = Path(sys.executable).with_name("lossmap")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOSSMAP_")} | {"COLUMNS": "400"}
    well = subprocess.run([lossmap, "doctor", "--json"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert all(finding["ok"] for finding in json.loads(well.stdout))
    ill = subprocess.run([lossmap, "doctor", "--tracking", "http://127.0.0.1:9"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ill.returncode == 1
    assert "start the server, or name another with --tracking or LOSSMAP_TRACKING" in ill.stdout
