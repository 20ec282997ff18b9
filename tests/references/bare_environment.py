"""Environments with a few installed packages and nothing else, as those who get an exported folder have."""

from __future__ import annotations

import importlib.util
import subprocess
import venv
from pathlib import Path


class BareEnvironment:
    """A virtual environment without pip that sees some of the installed packages."""

    def __init__(self, folder: Path, *packages: str) -> None:
        venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
        (site,) = folder.glob("lib/python*/site-packages")
        for name in packages:
            spec = importlib.util.find_spec(name)
            assert spec is not None
            (place,) = spec.submodule_search_locations or ()
            distribution = {"PIL": "pillow"}.get(name, name)
            # Wheels keep shared libraries beside the package, where it looks for them.
            for source in (Path(place), Path(place).with_name(f"{distribution}.libs")):
                if source.exists():
                    (site / source.name).symlink_to(source)
        self._python = folder / "bin" / "python"

    def run(self, *words: object, cwd: Path | None = None, status: int = 0) -> str:
        """What Python prints there, without what the surroundings say of paths; errors where it fails."""
        command = [self._python, "-E", "-s", "-B", *map(str, words)]
        found = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)
        assert found.returncode == status, found.stderr
        return found.stderr if status else found.stdout
