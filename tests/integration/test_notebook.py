"""The notebook runs from top to bottom, in a kernel of its own."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "pipelines/examples/why_training_succeeds.ipynb"

pytestmark = pytest.mark.slow  # starts another process, trains and surveys three networks


def test_the_notebook_runs_and_its_results_show_themselves(tmp_path: Path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in code] == [[]] * len(code)  # it is kept without what it says
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in code for output in cell.outputs]
    assert any("image/png;base64," in output.get("data", {}).get("text/html", "") for output in shown)
    assert sum("image/png" in output.get("data", {}) for output in shown) == 2
    assert code[-1].outputs[0].text.startswith('Seed 0: "with shortcuts the basin is wider" ')
    assert list(tmp_path.iterdir()) == []
