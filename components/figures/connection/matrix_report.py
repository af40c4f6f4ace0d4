"""The report of the barriers between several networks: numbers, page and picture in the store."""

import hashlib
import json
from typing import Any

from lossmap.components.core.frozen import canonical_json
from lossmap.components.core.serialization import plain
from lossmap.components.figures.connection.matrix import BarrierMatrix
from lossmap.components.figures.connection.matrix_figures import matrix_page, matrix_picture
from lossmap.components.figures.connection.record import record
from lossmap.components.stores import layout
from lossmap.components.stores.objects import Store

PAGE, PICTURE, RESULT = "page.html", "matrix.png", "matrix.json"


def write(store: Store, matrix: BarrierMatrix) -> str:
    """Write page, picture and numbers, these last; returns their digest."""
    identity = {"labels": matrix.labels, "pairs": list(matrix.pages.values())}
    digest = hashlib.sha256(canonical_json(identity).encode()).hexdigest()
    files = {
        PAGE: matrix_page(matrix).encode(),
        PICTURE: matrix_picture(matrix),
        RESULT: json.dumps(matrix_record(matrix), allow_nan=False, indent=2).encode(),
    }
    for name, content in files.items():
        store.write(layout.connection(digest, name), content)
    return digest


def matrix_record(matrix: BarrierMatrix) -> dict[str, Any]:
    """Everything as JSON values; NaN and infinity are the texts NaN and Infinity."""
    return {
        "networks": list(matrix.labels),
        "unit": matrix.first.unit,
        "barriers": {
            path: {split: plain(matrix.values(path, split).tolist()) for split in matrix.splits}
            for path in matrix.paths
        },
        "losses": {
            split: [plain(matrix.own_loss(network, split)) for network in range(len(matrix.labels))]
            for split in matrix.splits
        },
        "pairs": [record(summary) for summary in matrix.pairs.values()],
    }
