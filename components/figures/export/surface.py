"""Surfaces as files for other programs: tables, ParaView, viewers of three-dimensional models."""

import csv
import io
from dataclasses import replace
from typing import Any, Literal, get_args

import matplotlib
import numpy as np
from numpy.typing import NDArray

from lossmap.components.config.pictures import Pictures
from lossmap.components.core.errors import LossmapError
from lossmap.components.figures.export import vtk_xml
from lossmap.components.figures.frame import FEWEST_FOR_LINES, clipped_heights, clipped_loss, frame
from lossmap.components.figures.scale import COLOUR_MAP, Array, Scale
from lossmap.components.landscape.grid import Surface

Format = Literal["csv", "vts", "vtp", "gltf", "glb"]
Height = Literal["scale", "log", "linear"]
FORMATS: tuple[Format, ...] = get_args(Format)
HEIGHTS: tuple[Height, ...] = get_args(Height)

_COLUMNS = ("loss", "error", "loss_standard_error", "evaluated", "interpolated")
_MATERIAL = {"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}, "doubleSided": True}


def export(
    surface: Surface, form: Format, height: Height = "scale", pictures: Pictures | None = None
) -> bytes:
    """A surface as a file.

    Numbers are those of the surface, at its own points: nothing is smoothed, and nothing is interpolated that
    was not before.

    Args:
        surface: the plane or the line of a run.
        form: csv: one row for each point. vts: a structured grid, its points (x, y, height), where points
            without a finite loss are blanked. vtp: triangles of the same points. gltf, glb: the same
            triangles for viewers, their second coordinate up, as glTF wants it: (x, height, -y), in the
            colours of the pictures. A facet with a corner whose loss is not finite is left out. With every
            array, and to be drawn again: `stored`.
        height: of the last four forms: the height of the pictures' scale, log10 of the loss, or the loss, all
            clipped to that scale.
        pictures: settings of the scale.

    Raises:
        LossmapError: no loss has a logarithm, and that is asked for; or triangles are asked for and the
            surface has one row or none, such as a line, or no facet is finite.
    """
    if form == "csv":
        return _csv(surface)
    scale = frame([surface], pictures).scale
    points = _points(surface, _height_scale(surface, scale, height))
    if form == "vts":
        return vtk_xml.structured_grid(points, _fields(surface), ~surface.finite)
    triangles = _triangles(surface, form)
    if form == "vtp":
        fields = {name: values[surface.finite] for name, values in _fields(surface).items()}
        return vtk_xml.poly_data(points[surface.finite], triangles, fields)
    srgb = colours(clipped_loss(surface, scale)[surface.finite], scale)
    return _gltf(points[surface.finite], triangles, srgb, binary=form == "glb")


def colours(loss: Array, scale: Scale) -> NDArray[np.uint8]:
    """(…, 4) the colours of losses on the pictures' scale: red, green, blue and opacity, 0 to 255, as a
    screen takes them (sRGB).
    """
    position = scale.position(scale.heights(loss))
    srgb: NDArray[np.uint8] = matplotlib.colormaps[COLOUR_MAP](position, bytes=True)
    return srgb


def _csv(surface: Surface) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("x", "y", *_COLUMNS))
    x, y = np.meshgrid(surface.x, surface.y)
    arrays = [x, y, *(getattr(surface, name) for name in _COLUMNS)]
    writer.writerows(zip(*(array.ravel().tolist() for array in arrays), strict=True))
    return text.getvalue().encode()


def _height_scale(surface: Surface, scale: Scale, height: Height) -> Scale:
    """The pictures' scale with its heights, or with the loss or its logarithm as height."""
    if height == "linear":
        return replace(scale, kind="linear")
    if height == "scale" or scale.kind == "log":
        return scale
    logarithmic = frame([surface], Pictures(scale="log")).scale
    if logarithmic.kind != "log":
        raise LossmapError("height is log and no loss is positive, expected scale or linear")
    return logarithmic


def _points(surface: Surface, scale: Scale) -> Array:
    """(Y, X, 3) x, y and height; a point without a finite loss lies at the foot of the scale, where
    nothing is drawn of it.
    """
    x, y = np.meshgrid(surface.x, surface.y)
    height = np.where(surface.finite, clipped_heights(surface, scale), scale.ends[0])
    return np.stack([x, y, height], axis=-1)


def _fields(surface: Surface) -> dict[str, NDArray[Any]]:
    """What VTK shows at the points, each (Y, X); log10 is NaN where there is none."""
    positive = np.where(surface.finite & (surface.loss > 0), surface.loss, np.nan)
    numbers = {
        "loss": surface.loss,
        "log10_loss": np.log10(positive),
        "error": surface.error,
        "loss_standard_error": surface.loss_standard_error,
    }
    return {
        **numbers,
        "evaluated": surface.evaluated.astype(np.uint8),
        "interpolated": surface.interpolated.astype(np.uint8),
    }


def _triangles(surface: Surface, form: Format) -> NDArray[np.int64]:
    """(m, 3) two for each facet of four finite corners, counter-clockwise from above; numbers count the
    finite points only.
    """
    finite = surface.finite
    number = np.where(finite, np.cumsum(finite).reshape(finite.shape) - 1, -1)
    corners = [number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]]
    facets = np.stack(corners, axis=-1).reshape(-1, 4)
    whole = facets[(facets >= 0).all(axis=1)]
    if min(finite.shape) < FEWEST_FOR_LINES or not len(whole):
        raise LossmapError(
            f"{form} holds facets, and this surface has none between finite points; expected npz, csv or vts"
            " here"
        )
    return np.concatenate([whole[:, [0, 1, 2]], whole[:, [0, 2, 3]]]).astype(np.int64)


def _gltf(points: Array, triangles: NDArray[np.int64], srgb: NDArray[np.uint8], binary: bool) -> bytes:
    """A glTF 2.0 model. Colours of vertices are linear there, and its second axis points up."""
    import trimesh
    from trimesh.exchange.gltf import export_glb, export_gltf

    upright = np.stack([points[:, 0], points[:, 2], 0.0 - points[:, 1]], axis=1)
    scene = trimesh.Scene(trimesh.Trimesh(upright, triangles, vertex_colors=_linear(srgb), process=False))
    if binary:
        packed: bytes = export_glb(scene, tree_postprocessor=_with_material)  # type: ignore[no-untyped-call]
        return packed
    files = export_gltf(scene, embed_buffers=True, tree_postprocessor=_with_material)  # type: ignore[no-untyped-call]
    text: bytes = files["model.gltf"]
    return text


def _linear(srgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colours as glTF stores them; the curve is that of IEC 61966-2-1. Opacity stays."""
    share = srgb[:, :3] / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return np.concatenate([np.rint(255 * linear).astype(np.uint8), srgb[:, 3:]], axis=1)


def _with_material(tree: dict[str, Any]) -> None:
    """A sheet of paper: seen from both sides, and no metal, as which glTF takes what has no material."""
    tree["materials"] = [_MATERIAL]
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            primitive["material"] = 0
