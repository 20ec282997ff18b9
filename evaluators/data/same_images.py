"""Images that several places have: the same file, whatever links lead to it, or a copy of it."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Hashable, Mapping

# Files of equal size in several places, up to so many, are compared by their first bytes and then as a whole:
# of more, reading them would take longer than a search is worth.
MOST_COMPARED = 20_000
_FIRST_BYTES = 1 << 14

# Position of an image in its place, and its file or name.
Names = Mapping[int, str]


def identities(places: Mapping[str, Names]) -> dict[str, dict[int, tuple[Hashable, ...]]]:
    """What every image is known by: images of two places are the same where they have any of it in common.

    Args:
        places: The names of the images of every place, by its own name.
    """
    found: dict[str, dict[int, tuple[Hashable, ...]]] = {place: {} for place in places}
    sizes: dict[tuple[str, int], int] = {}
    for place, names in places.items():
        for index, name in names.items():
            try:
                status = os.stat(name)
            except (OSError, ValueError):  # no file of its own, such as a row of a table
                found[place][index] = (name,)
            else:
                found[place][index] = ((status.st_dev, status.st_ino),)
                sizes[place, index] = status.st_size
    for (place, index), content in _contents(places, sizes).items():
        found[place][index] += (content,)
    return found


def _contents(
    places: Mapping[str, Names], sizes: Mapping[tuple[str, int], int]
) -> dict[tuple[str, int], Hashable]:
    """Contents of files that may be copies of those of another place."""
    candidates = _in_several_places({image: size for image, size in sizes.items() if size})
    if len(candidates) > MOST_COMPARED:
        return {}
    for length in (_FIRST_BYTES, None):
        candidates = _in_several_places(
            {
                (place, index): (sizes[place, index], _digest(places[place][index], length))
                for (place, index) in candidates
            }
        )
    return candidates


def _in_several_places(keys: Mapping[tuple[str, int], Hashable]) -> dict[tuple[str, int], Hashable]:
    """Those whose key is that of an image of another place, too."""
    counts = Counter(key for _, key in {(place, key) for (place, _), key in keys.items()})
    return {image: key for image, key in keys.items() if counts[key] > 1}


def _digest(path: str, length: int | None) -> bytes:
    """Of the first bytes of a file, or of all; that of nothing where it cannot be read."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb") as file:
            for chunk in [file.read(length)] if length else iter(lambda: file.read(1 << 20), b""):
                digest.update(chunk)
    except OSError:
        return path.encode(errors="replace")
    return digest.digest()
