"""In which order a folder's classes are numbered: that of torchvision's ImageFolder, by their numbers, or by
a file.
"""

from collections.abc import Collection

from lossmap.components.config.data import CLASS_ORDERS
from lossmap.components.core.errors import DataError
from lossmap.components.data.files import read_file

_SHOWN = 4
# files beside the class folders that people keep their order in
LISTS = ("classes.txt", "class_names.txt", "labels.txt")


def ordered(labels: Collection[str], order: str) -> tuple[str, ...]:
    """Every class once, at the place of its number.

    Args:
        labels: names of the classes.
        order: names, by code points as Python sorts texts and torchvision's ImageFolder does; numbers, in
            their order and ahead of other names; or the path or URI of a file with a class on each line.

    Raises:
        DataError: the file has other classes.
    """
    if order == "names":
        return tuple(sorted(labels))
    if order == "numbers":
        return tuple(sorted(labels, key=_number))
    listed = named(read_file(order, "data.class_order"))
    if sorted(listed) != sorted(labels):
        other = sorted(set(listed) ^ set(labels)) or ["a class twice"]
        raise DataError(
            f"data.class_order is {order!r}, whose classes are not those of the folders: {_short(other)};"
            f" expected {', '.join(CLASS_ORDERS)}, or a file with the name of each class folder on a line"
        )
    return listed


def named(content: bytes) -> tuple[str, ...]:
    """The lines of a file of classes."""
    lines = content.decode("utf-8-sig", errors="replace").splitlines()
    return tuple(line.strip() for line in lines if line.strip())


def order_notes(classes: tuple[str, ...], order: str, lists: dict[str, bytes]) -> list[str]:
    """Lines for people where another order would number the classes otherwise.

    Args:
        classes: in their order.
        order: data.class_order.
        lists: content of files in the source that may list the classes, by name.
    """
    if order not in CLASS_ORDERS:
        return [f"order of the classes: as in {order}: {_short(classes)}"]
    other = {"names": "numbers", "numbers": "names"}[order]
    notes = []
    if ordered(classes, other) != classes:
        whose = {"names": ", as torchvision's ImageFolder has them", "numbers": ""}
        notes.append(
            f"order of the classes: by {order}{whose[order]}: {_short(classes)}; by {other}{whose[other]}:"
            f" {_short(ordered(classes, other))}; a network that was trained with that one needs"
            f" data.class_order={other}"
        )
    for name, content in lists.items():
        listed = named(content)
        if sorted(listed) == sorted(classes) and listed != classes:
            notes.append(
                f"order of the classes: by {order}; {name} beside them has another, which data.class_order"
                " takes by that file's path"
            )
    return notes


def _number(label: str) -> tuple[int, int, str]:
    return (0, int(label), label) if label.isdecimal() else (1, 0, label)


def _short(labels: Collection[str]) -> str:
    shown = ", ".join(list(labels)[:_SHOWN])
    return f"{shown} …" if len(labels) > _SHOWN else shown
