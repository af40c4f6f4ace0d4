"""What functions and objects that are in memory compute, as a digest of their compiled code."""

import functools
import hashlib
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lossmap.components.core.code import is_own

_ADDRESS = re.compile(r"\b0x[0-9a-f]+")  # in memory, which says nothing of the object
_TORCHS = frozenset(vars(nn.Module()))  # attributes that every module has
_PROTOCOL = 2  # of pickle, the first that takes slots along; nothing is pickled
_SIMPLE = (bool, int, float, complex, str, bytes, type(None))


def loaded_code_sha256(objects: Iterable[Any]) -> str:
    """SHA-256 over the compiled code of the user's functions and classes, and over what that refers to:
    functions, classes, modules of the user's, closures, defaults and other values, transitively.

    What runs is in memory, and need not be what the file holds meanwhile. Parameters do not count here, nor
    code that is installed.

    Args:
        objects: functions, modules of networks, or whatever is called.
    """
    code = _LoadedCode()
    code.add_all(objects)
    return hashlib.sha256("\n".join(code.parts).encode()).hexdigest()


class _LoadedCode:
    """What was reached by following references, in their order."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._seen: dict[int, Any] = {}  # the objects, so that no other gets the number of one that is gone

    def add_all(self, values: Iterable[Any]) -> None:
        """Note objects, and what they refer to."""
        for value in values:
            if isinstance(value, _SIMPLE):
                self.parts.append(repr(value))
            elif id(value) not in self._seen:
                self._seen[id(value)] = value
                self._add(value)

    def _add(self, value: Any) -> None:
        if isinstance(value, ModuleType | logging.Logger):  # a logger knows all others of its process
            self.add_all(vars(value).values() if _is_own_module(value) else ())
        elif isinstance(value, functools.partial):
            self.add_all([value.func, *value.args, *value.keywords, *value.keywords.values()])
        elif isinstance(value, MethodType):
            self.add_all([value.__self__, value.__func__])
        elif isinstance(value, FunctionType):
            self._add_function(value)
        elif isinstance(value, type):
            self._add_class(value)
        elif isinstance(value, property | staticmethod | classmethod):
            self.add_all(getattr(value, name, None) for name in ("fget", "__func__"))
        elif isinstance(value, nn.Module):
            self._add_module(value)
        elif isinstance(value, Mapping):
            self.add_all([*value.keys(), *value.values()])
        elif isinstance(value, list | tuple):
            self.add_all(value)
        else:
            self.parts.append(_described(value))
            self.add_all([type(value), *_made_of(value)])

    def _add_module(self, module: nn.Module) -> None:
        """By its class, its parts, what is called along with it, and what it holds besides parameters."""
        own = {name: each for name, each in vars(module).items() if name not in _TORCHS}
        self.add_all([type(module), *module._forward_pre_hooks.values(), *module._forward_hooks.values()])
        for name, part in module.named_modules(remove_duplicate=False):
            self.parts.append(f"{name} {_named(type(part))}")
        self.add_all(module.children())
        for name, each in sorted({**own, **module._buffers}.items()):
            self.parts.append(name)
            self.add_all([each])

    def _add_class(self, kind: type) -> None:
        self.parts.append(_named(kind))
        for each in kind.__mro__:
            if is_own(each.__module__):
                self.parts.append(each.__qualname__)
                self.add_all(vars(each).values())

    def _add_function(self, function: FunctionType) -> None:
        self.add_all(_values(function))
        if not is_own(function.__module__ or "__main__"):
            return
        for code in _codes(function.__code__):
            constants = [value for value in code.co_consts if not isinstance(value, CodeType)]
            self.parts.append(f"{code.co_name} {code.co_code.hex()} {_described(constants)} {code.co_names}")
            self.add_all(function.__globals__[name] for name in code.co_names if name in function.__globals__)


def _is_own_module(value: ModuleType | logging.Logger) -> bool:
    return isinstance(value, ModuleType) and is_own(value.__name__)


def _values(function: FunctionType) -> Iterator[Any]:
    """What it was made with: its closure, its defaults, what it wraps."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # it has none yet
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    yield getattr(function, "__wrapped__", None)


def _named(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _made_of(value: Any) -> list[Any]:
    """What copy.copy makes an object of; of one that cannot be copied, its attributes."""
    if isinstance(value, Tensor | np.ndarray):
        return list(getattr(value, "__dict__", {}).values())
    try:
        made = value.__reduce_ex__(_PROTOCOL)
    except Exception:  # whatever holds on to something outside of Python
        return list(getattr(value, "__dict__", {}).values())
    if isinstance(made, str):  # the name of something that there is once
        return []
    return [list(part) if isinstance(part, Iterator) else part for part in made[1:]]


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _described(value: Any) -> str:
    """A value as text, the same in every process; of an object that says nothing of itself, its type."""
    if isinstance(value, Tensor) and (is_lazy(value) or value.is_meta):
        return type(value).__qualname__
    if isinstance(value, Tensor):
        value = value.dequantize() if value.is_quantized else value.to_dense()
        numbers = value.detach().cpu().reshape(-1).view(torch.uint8).numpy()
        return f"{value.dtype} {tuple(value.shape)} {hashlib.sha256(numbers.tobytes()).hexdigest()}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    if isinstance(value, set | frozenset):
        return f"{sorted(map(_described, value))}"
    if isinstance(value, list | tuple):
        return f"{[_described(each) for each in value]}"
    text = repr(value)
    return type(value).__qualname__ if _ADDRESS.search(text) else text
