"""Weights files of any tool: told by their first bytes, and read without running code in them."""

from __future__ import annotations

import io
import json
import os
import pickletools
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import torch

from bitfront.evaluators.models.torch_archive import check_archive
from bitfront.spaces import UserError
from bitfront.spaces.errors import one_line

# Of a folder, in the order in which timm looks for them, and what stands for several files.
IN_FOLDERS = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")
_SHARDS = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")
_SHOWN = 3  # names in a message
_HEAD = 512
_LARGEST_PICKLE = 64 * 2**20
_LONGEST_HEADER = 100_000_000  # of safetensors, as the format limits it

# What a file of plain tensors refers to: torch.FloatStorage, torch._utils._rebuild_tensor_v2, ...
_TENSOR_FORMAT = re.compile(
    r"torch\.\w+|torch\.(_\w+|storage|nn\.parameter)\..*|collections\.(OrderedDict|Counter)|_codecs\.encode"
)
_NAMING = {"GLOBAL", "STACK_GLOBAL", "INST"}
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_OTHERS = {
    b"\x89HDF": ("an HDF5 file, as Keras writes it", "convert it to a torch state dict"),
    b"\x93NUMPY": ("a NumPy array", "save the state dict with torch.save or as .safetensors"),
    b"Rar!": ("a RAR archive", "unpack it and give the weights file in it"),
    b"7z\xbc\xaf": ("a 7z archive", "unpack it and give the weights file in it"),
    b"%PDF": ("a PDF document", "give the weights file"),
}


class _Held:
    """Stands for a value that only holds data: it keeps what it is given and computes nothing."""

    def __init__(self, *values: object) -> None:
        self.values = values

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.__dict__.update({str(name): value for name, value in state.items()})

    def __hash__(self) -> int:
        return id(self)


def _as_dict(*_: object) -> dict[Any, Any]:
    """Stands for ``collections.defaultdict``, whose factory would be called."""
    return {}


_SCALARS = "bool str int float complex bytes list dict tuple set frozenset bytearray slice"
_DTYPES = (
    "Bool Int8 Int16 Int32 Int64 UInt8 UInt16 UInt32 UInt64 Float16 Float32 Float64 Str Object Bytes Void"
)
_NUMPY = (
    "dtype ndarray bool bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 str_"
)
_PATHS = "PosixPath WindowsPath PurePosixPath PureWindowsPath Path PurePath"
# Data holders that training scripts put beside weights. None of these is imported or called: in their place
# stands _Held. (torch's own unpickler decides by name what may be made, and by these what is made.)
HOLDERS = frozenset(
    {
        "argparse.Namespace",
        "types.SimpleNamespace",
        "collections.defaultdict",
        *(f"datetime.{name}" for name in ("datetime", "date", "time", "timedelta", "timezone")),
        *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in _SCALARS.split()),
        *(f"pathlib{part}.{name}" for part in ("", "._local") for name in _PATHS.split()),
        *(f"numpy.{name}" for name in _NUMPY.split()),
        *(f"numpy.dtypes.{name}DType" for name in _DTYPES.split()),
        *(
            f"numpy.{core}.multiarray.{name}"
            for core in ("core", "_core")
            for name in ("scalar", "_reconstruct")
        ),
    }
)


def read_weights_file(path: Path) -> object:
    """What a file holds, whatever its suffix: safetensors, or one of torch's formats.

    Raises:
        UserError: There is no such file, it is of another kind, damaged, or would run code.
    """
    if not os.path.isfile(path):
        raise UserError(f"no such checkpoint: {path}; expected a .safetensors file or a torch state dict")
    try:
        with path.open("rb") as file:
            head, size = file.read(_HEAD), path.stat().st_size
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    if is_safetensors(head, size):
        return _read_safetensors(path)
    if (reason := _foreign(path, head)) is not None:
        raise UserError(f"{path} is not a readable weights file: {reason}")
    if path.suffix == ".safetensors" and not zipfile.is_zipfile(path) and head[:1] not in (b"\x80", b"("):
        return _read_safetensors(path)  # which says what is wrong with it
    return _read_torch(path)


def is_safetensors(head: bytes, size: int) -> bool:
    """Whether a file begins as safetensors do: the length of a JSON object, and then that object."""
    length = int.from_bytes(head[:8], "little")
    return len(head) > 8 and head[8:9] == b"{" and 2 <= length <= min(size - 8, _LONGEST_HEADER)


def weights_in(path: Path) -> Path:
    """A file, or the weights file in a folder, such as a model's that was downloaded from a hub.

    Raises:
        UserError: The folder has none, several of which none is the usual one, or parts of one.
    """
    if not os.path.isdir(path):
        return path
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        raise UserError(f"cannot read the folder {path}: {error.strerror or error}") from error
    usual = next((name for name in IN_FOLDERS if name in names), None)
    if usual is not None:
        return path / usual
    if not set(_SHARDS).isdisjoint(names):
        raise UserError(f"{path} holds weights in several files: {_JOIN}")
    found = [path / name for name in names if name.endswith(_SUFFIXES) and os.path.isfile(path / name)]
    if len(found) == 1:
        return found[0]
    what = f"has {first_of([file.name for file in found])}" if found else "holds no weights file"
    raise UserError(f"no such checkpoint: {path} is a folder and {what}; give the weights file in it")


_JOIN = "join them, such as with model.save_pretrained(folder, max_shard_size='100GB'), and give that file"


def _foreign(path: Path, head: bytes) -> str | None:
    """Why a file that is no safetensors cannot be one of torch's, told by its first bytes."""
    plain = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not head:
        return "it is empty; download or save it again"
    if head.startswith(b"version https://git-lfs"):
        return "it is a pointer of git-lfs in place of the file; run `git lfs pull` where it was cloned"
    if plain[:1] == b"<":
        return "it is a web page, such as an error of a download; download it again"
    for magic, name in _COMPRESSED.items():
        if head.startswith(magic):
            return f"it is compressed ({name}); unpack it first"
    for magic, (what, remedy) in _OTHERS.items():
        if head.startswith(magic):
            return f"it is {what}; {remedy}"
    if plain[:1] in (b"{", b"["):
        return _json_reason(path)
    if zipfile.is_zipfile(path):
        return _zip_reason(path)
    return None


def _json_reason(path: Path) -> str:
    try:
        document = json.loads(path.read_text(encoding="utf-8")) if path.stat().st_size < 2**26 else None
    except (OSError, ValueError, RecursionError):
        document = None
    if isinstance(document, dict) and isinstance(document.get("weight_map"), dict):
        return f"it is the index of weights in several files: {_JOIN}"
    return "it is text (JSON); expected a .safetensors file or a torch state dict"


def _zip_reason(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        return None  # torch says what is wrong with it
    if any(name.rpartition("/")[2] == "constants.pkl" for name in names):
        return "it is a TorchScript program; save model.state_dict() with torch.save"
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return None
    if names and all(name.endswith(".npy") for name in names):
        return "it holds NumPy arrays (.npz), as JAX models have them; convert it to a torch state dict"
    inside = first_of([name for name in names if not name.endswith("/")]) or "nothing"
    return f"it is a zip archive of {inside}; unpack it and give the weights file in it"


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, KeyError, ValueError, AttributeError) as error:  # or an unknown dtype
        raise UserError(f"{path} is not a readable safetensors file: {one_line(error, 160)}") from error


def _read_torch(path: Path) -> object:
    holders: list[Any] = [(_Held, name) for name in HOLDERS - {"collections.defaultdict"}]
    holders.append((_as_dict, "collections.defaultdict"))
    try:
        check_archive(path)
        # Opened here: torch goes by the suffix of a path.
        with warnings.catch_warnings(), torch.serialization.safe_globals(holders), path.open("rb") as file:
            # Of pickle protocols: the errors below say more.
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make torch raise many types
        foreign = foreign_names(path)
        if foreign:
            raise UserError(
                f"{path} was refused because loading it would run code ({first_of(foreign)}); expected plain "
                "tensors: save the state dict alone, best as .safetensors"
            ) from error
        reason = "" if "weights_only" in str(error) else f" ({one_line(error, 160)})"
        raise UserError(
            f"{path} is not a readable weights file{reason}; "
            "expected a .safetensors file or a torch state dict"
        ) from error


def foreign_names(path: Path) -> tuple[str, ...]:
    """Functions and classes other than those of tensors and ``HOLDERS`` that unpickling a file would import.

    Reads plain pickles and torch's two formats; nothing is imported or called. Empty for files that are
    no pickles.
    """
    names = dict.fromkeys(name for stream in _streams(path) for name in _imported(stream))
    return tuple(name for name in names if name not in HOLDERS and not _TENSOR_FORMAT.fullmatch(name))


def _streams(path: Path) -> Iterator[IO[bytes]]:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            yield io.BytesIO(file.read(_LARGEST_PICKLE))
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".pkl"):
                    with archive.open(name) as member:
                        yield io.BytesIO(member.read(_LARGEST_PICKLE))
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, RuntimeError):
        return  # damaged: there is no more to be read


def _imported(stream: IO[bytes]) -> Iterator[str]:
    """Dotted names in the order of the opcodes; torch's legacy format is several pickles in a row."""
    strings: list[str] = []
    while True:
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name in _NAMING:
                    # STACK_GLOBAL takes the two strings before it, the others carry both in their argument
                    parts = strings[-2:] if argument is None else str(argument).split(" ")
                    yield ".".join(parts)
                elif isinstance(argument, str):
                    strings.append(argument)
        except Exception:  # the pickles have ended, or this never was one: genops raises many types
            return


def first_of(names: Sequence[str]) -> str:
    """The first of some names, for a message."""
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
