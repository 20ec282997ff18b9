"""Where prepared models are kept, and how much of them, as the environment says."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from bitfront.spaces import UserError

log = logging.getLogger(__name__)

FOLDER_VARIABLE = "BITFRONT_CACHE"
LIMIT_VARIABLE = "BITFRONT_CACHE_LIMIT"
OFF = "off"
DEFAULT_LIMIT = 4 * 2**30
_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}


def cache_folder(environment: Mapping[str, str]) -> Path | None:
    """The folder of kept files, which need not exist; None where nothing is to be kept.

    ``BITFRONT_CACHE`` names it, or keeps nothing where it is empty or ``off``. Without it, it is ``bitfront``
    in ``XDG_CACHE_HOME``, in Windows' ``LOCALAPPDATA`` or in ``~/.cache``, whichever is there first.
    """
    named = environment.get(FOLDER_VARIABLE)
    try:
        if named is not None:
            return None if named.strip().lower() in ("", OFF) else Path(named).expanduser().absolute()
        for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
            base = Path(environment.get(variable, ""))
            if base.is_absolute():  # the XDG specification has relative paths ignored
                return base / "bitfront"
        return Path.home() / ".cache" / "bitfront"
    except RuntimeError:  # a user without a home, as in some containers
        log.warning("prepared models are not kept: no home folder; set %s to a folder", FOLDER_VARIABLE)
        return None


def cache_limit(environment: Mapping[str, str]) -> int:
    """The most bytes to keep: ``BITFRONT_CACHE_LIMIT``, such as ``2GB`` or ``500MiB``, else 4 GiB.

    Raises:
        UserError: The variable is not a size.
    """
    text = environment.get(LIMIT_VARIABLE, "").strip()
    if not text:
        return DEFAULT_LIMIT
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)", text)
    if match is None or match.group(2).lower() not in _UNITS:
        raise UserError(
            f"{LIMIT_VARIABLE} {text!r} is not a size: write 2GB or 500MiB, or set {FOLDER_VARIABLE}={OFF} "
            "to keep nothing"
        )
    return int(float(match.group(1)) * _UNITS[match.group(2).lower()])
