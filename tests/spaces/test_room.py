"""The room of spaces stands alone."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import bitfront.spaces
heavy = {"numpy", "torch", "timm", "pandas", "matplotlib", "pymoo", "optuna", "distributed"}
loaded = {name.partition(".")[0] for name in sys.modules}
rooms = {name for name in sys.modules if name.startswith(("bitfront.evaluators", "bitfront.search"))}
print(sorted(heavy & loaded), sorted(rooms))
"""


def test_importing_spaces_loads_neither_numpy_nor_torch_nor_other_rooms() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[] []"
