import base64
import csv
import io
import json
import struct
from itertools import pairwise

import numpy as np
import pytest
import trimesh
from reference.landscape import surface
from reference.manifests import manifest
from typer.testing import CliRunner
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkFiltersGeometry import vtkStructuredGridGeometryFilter
from vtkmodules.vtkIOXML import vtkXMLPolyDataReader, vtkXMLStructuredGridReader

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Axis, Landscape, Plane
from lossmap.components.core.errors import ExperimentError, LossmapError, StoreError
from lossmap.components.figures.export.surface import FORMATS, export
from lossmap.components.figures.run.panels import mappable
from lossmap.components.figures.scale import USUAL
from lossmap.components.landscape.grid import Result
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.stores.survey_plan import Part, Survey
from lossmap.components.surveys.merge import merge
from lossmap.components.surveys.pending import pending_points
from lossmap.components.surveys.tiles import cut, evaluate_tile
from lossmap.pipelines.cli import app
from lossmap.pipelines.export import export_surface

X, Y = [-1.0, -0.25, 0.1, 0.75, 1.5], [0.0, 0.5, 2.0]


def _plane():
    """Three rows, five columns; one NaN, one infinite and one missing loss, some beyond the scale, one
    interpolated.
    """
    loss = np.array(
        [[0.001, 0.02, 0.3, 4.0, np.nan], [5.0, 0.7, 0.09, 0.011, 1.0], [np.inf, 60.0, 700.0, 0.0, np.nan]]
    )
    evaluated = np.ones(loss.shape, dtype=bool)
    evaluated[2, 4] = evaluated[1, 1] = False
    found = surface(X, Y, loss, evaluated, error=np.linspace(0, 1, 15).reshape(3, 5))
    found.interpolated[1, 1] = True
    return found


HOLES = {(0, 4), (2, 0), (2, 4)}
WHOLE = [
    (row, column)
    for row in range(2)
    for column in range(4)
    if not HOLES & {(row + down, column + right) for down in (0, 1) for right in (0, 1)}
]


def _height(loss):
    return float(np.log10(min(max(loss, 0.01), 100.0)))


def _read(reader, content):
    reader.ReadFromInputStringOn()
    reader.SetInputString(content.decode())
    reader.Update()
    return reader.GetOutput()


def _fields(data):
    arrays = data.GetPointData()
    return {
        arrays.GetArrayName(index): vtk_to_numpy(arrays.GetArray(index))
        for index in range(arrays.GetNumberOfArrays())
    }


def test_csv_has_one_exact_row_for_each_point():
    plane = _plane()
    rows = list(csv.DictReader(io.StringIO(export(plane, "csv").decode())))
    assert list(rows[0]) == ["x", "y", "loss", "error", "loss_standard_error", "evaluated", "interpolated"]
    assert len(rows) == 15
    for index, row in enumerate(rows):
        place = divmod(index, 5)
        assert (float(row["x"]), float(row["y"])) == (X[place[1]], Y[place[0]])
        for name in ("loss", "error", "loss_standard_error"):
            np.testing.assert_equal(float(row[name]), getattr(plane, name)[place])
        for name in ("evaluated", "interpolated"):
            assert row[name] == str(getattr(plane, name)[place])


@pytest.mark.parametrize("height", ["log", "linear"])
def test_vtk_reads_every_number_of_the_structured_grid(height):
    plane = _plane()
    grid = _read(vtkXMLStructuredGridReader(), export(plane, "vts", height))
    assert grid.GetExtent() == (0, 4, 0, 2, 0, 0)
    points, fields = vtk_to_numpy(grid.GetPoints().GetData()), _fields(grid)
    for index, (row, column) in enumerate(np.ndindex(3, 5)):
        loss = plane.loss[row, column]
        assert tuple(points[index, :2]) == (X[column], Y[row])
        if (row, column) not in HOLES:
            expected = _height(loss) if height == "log" else min(max(loss, 0.01), 100.0)
            assert points[index, 2] == pytest.approx(expected, rel=1e-15)
        for name in ("loss", "error", "loss_standard_error", "evaluated", "interpolated"):
            np.testing.assert_equal(fields[name][index], getattr(plane, name)[row, column])
        logarithm = np.log10(loss) if (row, column) not in HOLES and loss > 0 else np.nan
        np.testing.assert_allclose(fields["log10_loss"][index], logarithm, rtol=1e-15)


def test_vtk_draws_no_facet_of_the_structured_grid_that_has_a_hole():
    grid = _read(vtkXMLStructuredGridReader(), export(_plane(), "vts"))
    visible = {
        (row, column) for index, (row, column) in enumerate(np.ndindex(3, 5)) if grid.IsPointVisible(index)
    }
    assert visible == set(np.ndindex(3, 5)) - HOLES
    assert [index for index in range(8) if grid.IsCellVisible(index)] == [
        4 * row + column for row, column in WHOLE
    ]
    assert np.isfinite(vtk_to_numpy(grid.GetPoints().GetData())).all()


def test_a_structured_grid_without_holes_is_drawn_whole():
    plane = surface(X, Y, np.ones((3, 5)))
    grid = _read(vtkXMLStructuredGridReader(), export(plane, "vts"))
    assert "vtkGhostType" not in _fields(grid)
    geometry = vtkStructuredGridGeometryFilter()
    geometry.SetInputData(grid)
    geometry.Update()
    assert geometry.GetOutput().GetNumberOfCells() == 8


def test_a_line_is_a_structured_grid_of_one_row():
    line = surface(X, [0.0], [[0.1, 0.2, np.nan, 0.4, 0.5]])
    grid = _read(vtkXMLStructuredGridReader(), export(line, "vts"))
    assert grid.GetExtent() == (0, 4, 0, 0, 0, 0)
    np.testing.assert_array_equal(_fields(grid)["loss"], line.loss[0])


def _triangles(data):
    offsets, corners = (
        vtk_to_numpy(array)
        for array in (data.GetPolys().GetOffsetsArray(), data.GetPolys().GetConnectivityArray())
    )
    return [corners[start:end].tolist() for start, end in pairwise(offsets)]


def _covered(triangles, places):
    """Of each facet the corners of its triangles, each half a facet and counter-clockwise; places are rows
    and columns of the points.
    """
    found = {}
    for triangle in triangles:
        corners = [places[index] for index in triangle]
        (row, column), (second_row, second_column), (third_row, third_column) = corners
        # Twice the signed area in grid steps: 1 for half a facet that is counter-clockwise where x is to the
        # right and y upwards.
        assert (second_column - column) * (third_row - row) - (third_column - column) * (
            second_row - row
        ) == 1
        facet = (min(corner[0] for corner in corners), min(corner[1] for corner in corners))
        found.setdefault(facet, []).extend(corners)
    return {facet: (len(corners), len(set(corners))) for facet, corners in found.items()}


FINITE = [place for place in np.ndindex(3, 5) if place not in HOLES]


def test_vtk_reads_every_number_of_the_triangles():
    plane = _plane()
    data = _read(vtkXMLPolyDataReader(), export(plane, "vtp"))
    points, fields = vtk_to_numpy(data.GetPoints().GetData()), _fields(data)
    assert len(points) == len(FINITE) == 12
    for index, place in enumerate(FINITE):
        np.testing.assert_allclose(
            points[index], (X[place[1]], Y[place[0]], _height(plane.loss[place])), rtol=1e-15
        )
        for name in ("loss", "error", "loss_standard_error", "evaluated", "interpolated"):
            assert fields[name][index] == getattr(plane, name)[place]
    assert _covered(_triangles(data), FINITE) == dict.fromkeys(WHOLE, (6, 4))


def _gltf(content):
    """Positions, colours, triangles and the tree, unpacked without the library that wrote them."""
    if content[:4] == b"glTF":
        version, length, json_length, json_kind = struct.unpack("<IIII", content[4:20])
        assert (version, length, json_kind) == (2, len(content), 0x4E4F534A)
        tree, buffers = json.loads(content[20 : 20 + json_length]), [content[28 + json_length :]]
    else:
        tree = json.loads(content)
        buffers = [base64.b64decode(buffer["uri"].partition(",")[2]) for buffer in tree["buffers"]]
    primitive = tree["meshes"][0]["primitives"][0]

    def array(index):
        accessor = tree["accessors"][index]
        view = tree["bufferViews"][accessor["bufferView"]]
        kind, width = (
            {5121: "u1", 5125: "<u4", 5126: "<f4"}[accessor["componentType"]],
            {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor["type"]],
        )
        start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
        return np.frombuffer(buffers[view["buffer"]], kind, accessor["count"] * width, start).reshape(
            -1, width
        )

    attributes = primitive["attributes"]
    return (
        array(attributes["POSITION"]),
        array(attributes["COLOR_0"]),
        array(primitive["indices"]).reshape(-1, 3),
        tree,
    )


def _linear(share):
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4


@pytest.mark.parametrize("form", ["gltf", "glb"])
def test_a_model_has_the_surface_upright_in_the_colours_of_the_pictures(form):
    plane = _plane()
    positions, colours, triangles, tree = _gltf(export(plane, form))
    assert len(positions) == len(FINITE)
    for index, place in enumerate(FINITE):
        loss = plane.loss[place]
        # Positions are float32.
        np.testing.assert_allclose(positions[index], (X[place[1]], _height(loss), -Y[place[0]]), rtol=1e-7)
        picture = mappable(USUAL).to_rgba(loss)
        # One step for each of the two roundings to 8 bits.
        np.testing.assert_allclose(
            colours[index], [255 * _linear(share) for share in picture[:3]] + [255], atol=1.5
        )
    assert _covered(triangles.tolist(), FINITE) == dict.fromkeys(WHOLE, (6, 4))
    material = tree["materials"][tree["meshes"][0]["primitives"][0]["material"]]
    assert material["doubleSided"]
    assert material["pbrMetallicRoughness"]["metallicFactor"] == 0


def test_facets_of_a_model_face_upwards():
    mesh = trimesh.load(io.BytesIO(export(_plane(), "glb")), file_type="glb", force="mesh", process=False)
    assert (mesh.face_normals[:, 1] > 0).all()


@pytest.mark.parametrize("form", ["vtp", "gltf", "glb"])
@pytest.mark.parametrize(
    "loss", [[[0.1, 0.2, 0.3, 0.4, 0.5]], np.full((3, 5), np.nan)], ids=["line", "holes"]
)
def test_a_surface_without_facets_has_no_triangles(form, loss):
    with pytest.raises(LossmapError) as caught:
        export(surface(X, Y[: len(loss)], loss), form)
    assert (
        str(caught.value)
        == f"{form} holds facets, and this surface has none between finite points; expected npz, csv or vts"
        " here"
    )


@pytest.mark.parametrize("form", FORMATS)
def test_equal_surfaces_give_equal_bytes(form):
    assert export(_plane(), form) == export(_plane(), form)


LANDSCAPE = Landscape(
    plane=Plane(x=Axis(points=5), y=Axis(low=0, high=1, points=3)), line=Axis(low=-2, high=2, points=9)
)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store with a run that is finished, and one that is not."""
    monkeypatch.chdir(tmp_path)
    opened, part = open_store("runs"), Part(kind="loss", address="5" * 64, plane="5" * 64)
    for run in ("done", "begun"):
        Run(opened, run).begin(Experiment(landscape=LANDSCAPE))
        Run(opened, run).keep_manifest(manifest())
    Run(opened, "done").keep_survey(Survey(parts=(part,)))
    for tile in cut(part, pending_points(part, Survey(parts=(part,)), LANDSCAPE, {}), 100):
        evaluate_tile(opened, tile, lambda x, y: Result(1 + x + 10 * y, 0.5, 0.1, (0.5, 1.5)))
    merge(Run(opened, "done"))
    opened.write(layout.scalars("done"), b"{}")
    return opened


def test_the_command_writes_a_file_beside_and_prints_its_path(store, tmp_path):
    found = CliRunner().invoke(
        app, ["export", "done", "--format", "csv", "--store", "runs"], catch_exceptions=False
    )
    assert found.output == "done-plane.csv\n"
    rows = list(csv.DictReader(io.StringIO((tmp_path / "done-plane.csv").read_text())))
    assert [float(row["loss"]) for row in rows] == [
        1 + x + 10 * y for y in (0, 0.5, 1) for x in (-1, -0.5, 0, 0.5, 1)
    ]


def test_the_line_is_exported_to_a_named_file(store, tmp_path):
    arguments = ["export", "done", "--format", "npz", "--grid", "line", "-o", "mine.npz", "--store", "runs"]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).output == "mine.npz\n"
    np.testing.assert_array_equal(np.load(tmp_path / "mine.npz")["loss"], [1 + np.linspace(-2, 2, 9)])


def test_heights_of_negative_losses_are_linear_and_their_logarithm_is_refused():
    below = surface(X, Y, np.linspace(-4, -1, 15).reshape(3, 5))
    grid = _read(vtkXMLStructuredGridReader(), export(below, "vts"))
    heights = [grid.GetPoint(index)[2] for index in range(grid.GetNumberOfPoints())]
    assert (min(heights), max(heights)) == pytest.approx((-4, -1))
    with pytest.raises(
        LossmapError, match=r"^height is log and no loss is positive, expected scale or linear$"
    ):
        export(below, "vts", "log")


def test_height_is_logarithmic_or_linear(store, tmp_path):
    for height in ("log", "linear"):
        export_surface(Run(store, "done"), "plane", "vts", height, f"{height}.vts")
    heights = [
        vtk_to_numpy(
            _read(vtkXMLStructuredGridReader(), (tmp_path / f"{height}.vts").read_bytes())
            .GetPoints()
            .GetData()
        )[:, 2]
        for height in ("log", "linear")
    ]
    np.testing.assert_allclose(heights[0], np.log10(heights[1]), rtol=1e-15)
    assert heights[1].max() == 12.0


@pytest.mark.parametrize(
    ("run", "grid", "form", "height", "kind", "text"),
    [
        (
            "done",
            "plane",
            "stl",
            "log",
            ExperimentError,
            "--format is stl, expected one of npz, csv, vts, vtp, gltf, glb",
        ),
        ("done", "plane", "vts", "up", ExperimentError, "--height is up, expected one of scale, log, linear"),
        (
            "done",
            "cube",
            "vts",
            "log",
            ExperimentError,
            "--grid is cube and run done has plane and line, expected one of those",
        ),
        (
            "begun",
            "plane",
            "vts",
            "log",
            StoreError,
            "run begun is not finished; go on with it: lossmap run --resume begun",
        ),
    ],
)
def test_a_mistake_is_one_line_that_says_what_was_expected(store, run, grid, form, height, kind, text):
    with pytest.raises(kind) as caught:
        export_surface(Run(store, run), grid, form, height, None)
    assert str(caught.value) == text


def test_an_unknown_run_is_told_which_runs_there_are(store):
    with pytest.raises(StoreError, match="has no run other; the newest are"):
        export_surface(Run(store, "other"), "plane", "csv", "log", None)


def test_a_file_that_cannot_be_written_is_one_line(store):
    with pytest.raises(LossmapError) as caught:
        export_surface(Run(store, "done"), "plane", "csv", "log", "nowhere/file.csv")
    assert (
        str(caught.value)
        == "cannot write nowhere/file.csv: No such file or directory; name another file with --output"
    )
