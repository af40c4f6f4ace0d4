"""VTK's XML files, for ParaView. Arrays stand in the file as base64 of their exact bytes, so that NaN
survives.

The format is that of Kitware's "VTK XML formats" (docs.vtk.org): <VTKFile>, one <Piece>, and every
<DataArray> the base64 of its length in bytes (UInt64) and its values.
"""

import base64
import sys
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

_TYPES = {"f8": "Float64", "i8": "Int64", "u1": "UInt8"}
_HIDDEN_POINT = 2  # vtkDataSetAttributes::HIDDENPOINT: cells that touch the point are not drawn

Fields = Mapping[str, NDArray[Any]]


def structured_grid(points: NDArray[np.float64], fields: Fields, hidden: NDArray[np.bool_]) -> bytes:
    """A .vts file.

    Args:
        points: (Y, X, 3) coordinates; finite.
        fields: numbers at the points by name, each (Y, X).
        hidden: (Y, X) points that are blanked: nothing is drawn there.
    """
    rows, columns = hidden.shape
    extent = f"0 {columns - 1} 0 {rows - 1} 0 0"
    root, piece = _file("StructuredGrid", {"WholeExtent": extent}, {"Extent": extent})
    ghosts = {"vtkGhostType": np.where(hidden, _HIDDEN_POINT, 0).astype(np.uint8)} if hidden.any() else {}
    _add_fields(piece, {**fields, **ghosts})
    _add_array(ET.SubElement(piece, "Points"), "points", points.reshape(-1, 3), components=3)
    return _bytes(root)


def poly_data(points: NDArray[np.float64], triangles: NDArray[np.int64], fields: Fields) -> bytes:
    """A .vtp file.

    Args:
        points: (n, 3) coordinates; finite.
        triangles: (m, 3) indices of points.
        fields: numbers at the points by name, each (n,).
    """
    root, piece = _file(
        "PolyData", {}, {"NumberOfPoints": str(len(points)), "NumberOfPolys": str(len(triangles))}
    )
    _add_fields(piece, fields)
    _add_array(ET.SubElement(piece, "Points"), "points", points, components=3)
    cells = ET.SubElement(piece, "Polys")
    _add_array(cells, "connectivity", triangles.reshape(-1))
    _add_array(cells, "offsets", 3 * np.arange(1, len(triangles) + 1))
    return _bytes(root)


def _file(kind: str, whole: Mapping[str, str], piece: Mapping[str, str]) -> tuple[ET.Element, ET.Element]:
    order = "LittleEndian" if sys.byteorder == "little" else "BigEndian"
    root = ET.Element("VTKFile", type=kind, version="1.0", byte_order=order, header_type="UInt64")
    return root, ET.SubElement(ET.SubElement(root, kind, dict(whole)), "Piece", dict(piece))


def _add_fields(piece: ET.Element, fields: Fields) -> None:
    point_data = ET.SubElement(piece, "PointData", Scalars=next(iter(fields)))
    for name, values in fields.items():
        _add_array(point_data, name, values.reshape(-1))


def _add_array(parent: ET.Element, name: str, values: NDArray[Any], components: int = 1) -> None:
    array = ET.SubElement(
        parent,
        "DataArray",
        type=_TYPES[values.dtype.str[1:]],
        Name=name,
        NumberOfComponents=str(components),
        format="binary",
    )
    content = np.ascontiguousarray(values).tobytes()
    array.text = base64.b64encode(np.uint64(len(content)).tobytes() + content).decode()


def _bytes(root: ET.Element) -> bytes:
    content: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return content
