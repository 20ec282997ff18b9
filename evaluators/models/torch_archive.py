"""Files of torch's zip format are compared with their own checksums, which torch leaves unread."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

_PIECE_BYTES = 2**20


def check_archive(path: Path) -> None:
    """Refuses a zip archive that torch would load though its content is not what was saved.

    torch's reader is built without the comparison of checksums, and would unpack compressed entries, of which
    a small file may have terabytes; torch itself compresses nothing. Files that are no zip archives, as of
    torch's older format, have no checksums and pass.

    Raises:
        ValueError: An entry is compressed, larger than the file, or differs from its checksum.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise ValueError("it has compressed entries, which torch does not write")
            if sum(entry.file_size for entry in entries) > path.stat().st_size:
                raise ValueError("its entries are larger than the file")
            damaged = [entry.filename for entry in entries if not _is_whole(archive, entry)]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"it is no whole zip archive: {error}") from error
    # torch can be told to write no checksums, and then none is right.
    if 0 < len(damaged) < len(entries):
        raise ValueError(f"its entry {damaged[0]} differs from its checksum")


def _is_whole(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(entry) as content:
            while content.read(_PIECE_BYTES):
                pass
    except zipfile.BadZipFile:
        return False
    return True
