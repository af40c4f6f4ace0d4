"""Names of tensors, whatever was wrapped around a network before its weights were written."""

import re
from collections import Counter
from collections.abc import Iterable

# torch.compile, FullyShardedDataParallel, activation checkpointing, Lightning Fabric
_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
# torch.nn.utils.parametrizations against the older torch.nn.utils.weight_norm and spectral_norm
_PARAMETRIZATIONS = (
    (re.compile(r"(^|\.)parametrizations\.(\w+)\.original0$"), r"\1\2_g"),
    (re.compile(r"(^|\.)parametrizations\.(\w+)\.original1$"), r"\1\2_v"),
    (re.compile(r"(^|\.)parametrizations\.(\w+)\.original$"), r"\1\2_orig"),
    (re.compile(r"(^|\.)parametrizations\.(\w+)\.0\._([uv])$"), r"\1\2_\3"),
)
# of what lies beside weights in a checkpoint: losses, metrics, counters of programs that measure networks,
# and indices that follow from a network's shape
_ASIDE = re.compile(
    r"(^|\.)(criterion|loss|loss_fn|loss_func|\w+_loss|\w*metrics?|\w*accuracy|\w+_acc|total_ops|total_params"
    r"|n_averaged|num_batches_tracked|position_ids|relative_position_index)(\.|$)"
)


def canonical(names: Iterable[str], parallel: bool = False) -> dict[str, str]:
    """For each name the one that it has without wrappers, and as older parametrizations name it.

    A name that would become another's stays as it is.

    Args:
        names: of tensors, with dots.
        parallel: also without `module`, which DistributedDataParallel and AveragedModel put before names.
    """
    left_out = (*_WRAPPERS, "module") if parallel else _WRAPPERS
    plain = {name: _canonical(name, left_out) for name in names}
    meant = Counter(plain.values())
    return {name: short if meant[short] == 1 else name for name, short in plain.items()}


def common_prefix(names: Iterable[str]) -> str:
    """The first parts, with their dots, that all names share; the last part of a name is never among them."""
    parts = [name.split(".")[:-1] for name in names]
    shared = 0
    while parts and all(len(one) > shared and one[shared] == parts[0][shared] for one in parts):
        shared += 1
    return "".join(f"{part}." for part in parts[0][:shared]) if parts else ""


def is_aside(name: str) -> bool:
    """Whether a name is of something that lies beside weights and is no part of a network's function."""
    return bool(_ASIDE.search(name))


def is_optional(name: str) -> bool:
    """Whether a network is whole without that tensor: a count that BatchNorm had not in its early days."""
    return name.rpartition(".")[2] == "num_batches_tracked"


def _canonical(name: str, left_out: tuple[str, ...]) -> str:
    short = ".".join(part for part in name.split(".") if part not in left_out)
    for pattern, replacement in _PARAMETRIZATIONS:
        short = pattern.sub(replacement, short)
    return short
