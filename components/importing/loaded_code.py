"""What functions and objects that are in memory compute, as a digest of their compiled code."""

import functools
import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
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
        self._kinds: tuple[tuple[Any, Callable[[Any], Iterable[Any]]], ...] = (
            # a logger knows all others of its process
            (
                ModuleType | logging.Logger,
                lambda value: vars(value).values() if _is_own_module(value) else (),
            ),
            (functools.partial, lambda value: [value.func, value.args, value.keywords]),
            (MethodType, lambda value: [value.__self__, value.__func__]),
            (FunctionType, self._add_function),
            (type, self._add_class),
            (property, lambda value: [value.fget]),
            (staticmethod | classmethod, lambda value: [value.__func__]),
            (nn.Module, self._add_module),
            (Mapping, lambda value: [*value.keys(), *value.values()]),
            (list | tuple, lambda value: value),
            (fx.Graph, self._add_graph),
        )

    def add_all(self, values: Iterable[Any]) -> None:
        """Note objects, and what they refer to: a list of those that wait, as chains of them may be long."""
        waiting = [*values][::-1]
        while waiting:
            value = waiting.pop()
            if isinstance(value, _SIMPLE):
                self.parts.append(repr(value))
            elif id(value) not in self._seen:
                self._seen[id(value)] = value
                waiting += [*self._add(value)][::-1]

    def _add(self, value: Any) -> Iterable[Any]:
        """Note one; returns what it refers to."""
        for kind, add in self._kinds:
            if isinstance(value, kind):
                return add(value)
        self.parts.append(_described(value))
        return [type(value), *_made_of(value)]

    def _add_graph(self, graph: fx.Graph) -> Iterable[Any]:
        """Of torch.fx, whose nodes are a chain."""
        self.parts.append(_ADDRESS.sub("", str(graph)))
        return [node.target for node in graph.nodes]

    def _add_module(self, module: nn.Module) -> Iterable[Any]:
        """By its class, its parts, what is called along with it, and what it holds besides parameters."""
        for name, part in module.named_modules(remove_duplicate=False):
            self.parts.append(f"{name} {_named(type(part))}")
        own = {name: each for name, each in vars(module).items() if name not in _TORCHS}
        held = sorted({**own, **module._buffers}.items())
        hooks = [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]
        return [type(module), *hooks, *module.children(), *(each for pair in held for each in pair)]

    def _add_class(self, kind: type) -> Iterable[Any]:
        self.parts.append(_named(kind))
        own = [each for each in kind.__mro__ if is_own(each.__module__)]
        self.parts += [each.__qualname__ for each in own]
        return [value for each in own for value in vars(each).values()]

    def _add_function(self, function: FunctionType) -> Iterable[Any]:
        reached = list(_values(function))
        if not is_own(function.__module__ or "__main__"):
            return reached
        for code in _codes(function.__code__):
            constants = [value for value in code.co_consts if not isinstance(value, CodeType)]
            self.parts.append(f"{code.co_name} {code.co_code.hex()} {_described(constants)} {code.co_names}")
            known = function.__globals__
            reached += [known[name] for name in code.co_names if name in known]
        return reached


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
    if isinstance(value, Tensor):
        return _described_tensor(value)
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    if isinstance(value, set | frozenset):
        return f"{sorted(map(_described, value))}"
    if isinstance(value, list | tuple):
        return f"{[_described(each) for each in value]}"
    text = repr(value)
    return type(value).__qualname__ if _ADDRESS.search(text) else text


def _described_tensor(value: Tensor) -> str:
    if is_lazy(value) or value.is_meta:
        return type(value).__qualname__
    kind = f"{value.dtype} {tuple(value.shape)}"
    try:
        dense = value.dequantize() if value.is_quantized else value.to_dense()
        numbers = dense.detach().cpu().reshape(-1).view(torch.uint8).numpy()
    except RuntimeError:  # it has no numbers, as those with which graphs are traced
        return f"{type(value).__qualname__} {kind}"
    return f"{kind} {hashlib.sha256(numbers.tobytes()).hexdigest()}"
