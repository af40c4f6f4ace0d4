"""Let PyTorch's CUDA build be imported without NVIDIA's libraries: for clusters without GPUs that cannot
reach PyTorch's own index of CPU builds.

The loader insists that each library exists and defines what PyTorch takes the address of; any other function
it looks up when it is first called, which without a GPU is never. So each library that is missing becomes a
small one, and all that PyTorch wants of them has an address.
"""

import re
import struct
import subprocess
import sys
import sysconfig
from pathlib import Path

HEADERS = 64 + 2 * 56
# not in the others, because the loader checks that a library has the versions that are asked of its name
FUNCTIONS = "libwithout_cuda.so"


def library(functions: list[str] = (), needed: str = "") -> bytes:
    """A shared object for x86-64 that needs one other beside it, or defines functions with an address that
    no call survives.
    """
    names = b"\0" + b"".join(name.encode() + b"\0" for name in ("$ORIGIN", needed, *functions))
    starts = [names.index(b"\0" + name.encode() + b"\0") + 1 for name in functions]
    symbols = bytes(24) + b"".join(struct.pack("<IBBHQQ", start, 0x12, 0, 1, 1, 0) for start in starts)
    count = len(functions) + 1
    chain = struct.pack(f"<{3 + count}I", 1, count, count - 1, *[max(index - 1, 0) for index in range(count)])
    other = [15, 1, 1, names.index(needed.encode(), 1)] if needed else []  # search beside this file; needed
    size = 8 * (len(other) + 12)
    at_symbols = HEADERS + size
    at_chain = at_symbols + len(symbols)
    at_names = at_chain + len(chain)
    end = at_names + len(names)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0
    )
    load = struct.pack("<IIQQQQQQ", 1, 6, 0, 0, 0, end, end, 4096)
    dynamic = struct.pack("<IIQQQQQQ", 2, 6, HEADERS, HEADERS, HEADERS, size, size, 8)
    tables = [4, at_chain, 5, at_names, 6, at_symbols, 10, len(names), 11, 24, 0, 0]
    return header + load + dynamic + struct.pack(f"<{size // 8}Q", *other, *tables) + symbols + chain + names


def main() -> None:
    """Put small libraries in the place of those that are missing, and see that PyTorch can be imported."""
    torch = Path(sysconfig.get_path("purelib"), "torch")
    found = subprocess.run(
        ["ldd", "-r", *torch.glob("_C.*.so"), *torch.glob("lib/*.so")],
        capture_output=True,
        text=True,
        check=True,
    )
    # the driver: its absence says that there is no GPU
    libraries = set(re.findall(r"(\S+) => not found", found.stdout)) - {"libcuda.so.1"}
    functions = set(re.findall(r"undefined symbol: (?!_?Py)(\w+)", found.stdout + found.stderr))
    (torch / "lib" / FUNCTIONS).write_bytes(library(sorted(functions)))
    for name in libraries:
        (torch / "lib" / name).write_bytes(library(needed=FUNCTIONS))
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    print(f"{len(functions)} functions of {', '.join(sorted(libraries))} are missing")


if __name__ == "__main__":
    main()
