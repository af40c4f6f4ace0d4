"""How long the command line takes to answer, as a ratio to Python itself, measured in turn.

python tests/benchmarks/start.py
"""

import statistics
import subprocess
import sys
import time

ROUNDS = 11
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "lossmap --help": [sys.executable, "-m", "lossmap.pipelines.cli", "--help"],
    "import torch": [sys.executable, "-c", "import torch"],
}


def main() -> None:
    """Print seconds and ratios."""
    times = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            times[name].append(time.perf_counter() - start)
    base = statistics.median(times["python -c pass"])
    for name, values in times.items():
        print(f"{name:16} {statistics.median(values):6.3f} s  {statistics.median(values) / base:6.1f}")


if __name__ == "__main__":
    main()
