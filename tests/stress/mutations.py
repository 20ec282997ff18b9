"""Files made wrong on purpose: bytes, JSON, tables and headers of tensors, altered by a seeded generator."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

Mutation = Callable[[bytes, random.Random], bytes]

DEEP = 100_000
# A marker that no file of bitfront has: where a page has it as a tag, a name was not escaped.
TAG = "hostile-tag"
NAMES = (
    "",
    " ",
    "\x1b[2J\x1b[31mred",
    "\x9b31m",
    "a\nb\r\nc",
    "nul\0byte",
    "../../../../etc/passwd",
    "/etc/passwd",
    "/dev/zero",
    "/dev/tty",
    "~root/.bashrc",
    "C:\\windows\\system32",
    f"<{TAG} onload=x>",
    f'"><{TAG}>',
    f"</script><{TAG}>",
    "javascript:alert(1)",
    "{{7*7}}${7*7}",
    "=cmd|' /C calc'!A0",
    "%s%n%x",
    "\u202eexe.txt",
    "\ud800",
    "x" * 100_000,
    "__class__",
    "nan",
    "١٢",
    "1_000",
    "0x10",
)
NUMBERS = (
    0,
    -1,
    1,
    3,
    255,
    256,
    2**31,
    2**63,
    2**64 - 1,
    10**30,
    10**400,
    -(10**18),
    0.5,
    -0.0,
    1e-320,
    1e308,
    -1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"a": {"b": {}}},
    [1, "a", None],
)


def nested(depth: int, opening: str = "[", closing: str = "]") -> str:
    return opening * depth + closing * depth


def alter_bytes(content: bytes, rng: random.Random) -> bytes:
    """What disks, networks and editors do: cut, flipped, overwritten, repeated, with more behind."""
    size = len(content)
    at = rng.randrange(size + 1)
    length = min(1 << rng.randrange(14), size)
    kind = rng.randrange(10)
    if kind == 0:
        return content[:at]
    if kind == 1:
        return content[at:]
    if kind <= 4 and size:
        changed = bytearray(content)
        for _ in range(1 << rng.randrange(6)):
            changed[rng.randrange(size)] ^= 1 << rng.randrange(8)
        return bytes(changed)
    if kind == 5:
        return content[:at] + rng.choice([b"\0", b"\xff", b" "]) * length + content[at + length :]
    if kind == 6:
        return content[:at] + rng.randbytes(length) + content[at + length :]
    if kind == 7:
        return content[:at] + content[at + length :]
    if kind == 8:
        return content + rng.choice([b"\0", b"\n", content, rng.randbytes(length)])
    return content[:at] + content[max(0, at - length) :]


def alter_beginning(content: bytes, rng: random.Random) -> bytes:
    """The first bytes, in which formats keep their headers."""
    first = min(len(content), 2048)
    return alter_bytes(content[:first], rng) + content[first:]


def alter_numbers(content: bytes, rng: random.Random) -> bytes:
    """A field of 4 or 8 bytes becomes a count of terabytes, or a negative one."""
    value = rng.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**64 - 1])
    form = rng.choice(["<I", "<Q", ">I", ">Q"])
    limit = 2 ** (8 * struct.calcsize(form))
    field = struct.pack(form, value % limit)
    at = rng.randrange(max(1, min(len(content), 4096) - len(field)))
    return content[:at] + field + content[at + len(field) :]


def alter_json(content: bytes, rng: random.Random) -> bytes:
    """A document whose values, names and shape are of another kind."""
    return _document_text(json.loads(content), rng)


def alter_json_lines(content: bytes, rng: random.Random) -> bytes:
    """One line of a file of documents, or the order of its lines."""
    lines = content.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    kind = rng.randrange(10)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(at, lines[rng.randrange(len(lines))])
    elif kind == 2:
        other = rng.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    elif kind == 3:
        lines[at] = lines[at].rstrip(b"\n")
    elif kind == 4:
        lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)] + b"\n"
    else:
        lines[at] = alter_json(lines[at], rng).replace(b"\n", b" ") + b"\n"
    return b"".join(lines)


def _document_text(document: Any, rng: random.Random) -> bytes:
    kind = rng.randrange(12)
    if kind == 0:
        return rng.choice([nested(DEEP), nested(DEEP, '{"a":', "}"), nested(DEEP // 2, "[{}, ")]).encode()
    if kind == 1:
        return json.dumps(rng.choice([None, 3, "text", [], {}, [document], True, 1e999])).encode()
    text = json.dumps(document)
    if kind == 2:  # a value is nested too deep
        changed = alter_value(document, rng, "@deep@")
        return json.dumps(changed).replace('"@deep@"', nested(DEEP)).encode()
    if kind == 3:
        return text.replace(":", rng.choice(["", ": :", ": NaN,", ":\x00"]), rng.randrange(1, 4)).encode()
    if kind == 4:
        return rng.choice([text.encode("utf-16"), b"\xef\xbb\xbf" + text.encode(), b"\xff" + text.encode()])
    changed = document
    for _ in range(1 if kind < 10 else rng.randrange(2, 6)):
        changed = alter_value(changed, rng, hostile(rng))
    return json.dumps(changed).encode("utf-8", "surrogatepass")


def hostile(rng: random.Random) -> Any:
    """A value that no reader waits for."""
    kind = rng.randrange(8)
    if kind <= 2:
        return rng.choice(NAMES)
    if kind <= 5:
        return rng.choice(NUMBERS)
    if kind == 6:
        return rng.choice(VALUES)
    return rng.choice([["x"] * 100_000, list(range(1000)), {str(n): n for n in range(1000)}, [[[[]]]] * 100])


def alter_value(document: Any, rng: random.Random, value: Any) -> Any:
    """The document with one of its values, or one of its names, replaced, removed or doubled."""
    document = copy.deepcopy(document)
    places: list[tuple[Any, Any]] = []

    def visit(node: Any, depth: int) -> None:
        entries = (
            node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        )
        for key, child in entries:
            # Places near the root are as likely as the many far below it.
            places.extend([(node, key)] * max(1, 8 >> depth))
            visit(child, depth + 1)

    visit(document, 0)
    if not places:
        return value
    node, key = rng.choice(places)
    kind = rng.randrange(8)
    if kind == 0:
        del node[key]
    elif kind == 1 and isinstance(node, dict):
        node[value if isinstance(value, str) else str(value)[:50]] = node.pop(key)
    elif kind == 2 and isinstance(node, list):
        node.insert(key, copy.deepcopy(node[key]))
    elif kind == 3:
        other, name = rng.choice(places)
        if name in (other if isinstance(other, dict) else range(len(other))):
            node[key] = copy.deepcopy(other[name])
    elif kind == 4 and isinstance(node[key], int | float):
        node[key] = rng.choice([-node[key], node[key] + 1, node[key] * 1e30, str(node[key])])
    else:
        node[key] = value
    return document


def alter_table(content: bytes, rng: random.Random) -> bytes:
    """A table of text: its cells, lines, columns, quotes and encoding."""
    text = content.decode()
    rows = [line.split(",") for line in text.splitlines()]
    row = rng.randrange(len(rows))
    cell = rng.randrange(len(rows[row]))
    kind = rng.randrange(14)
    if kind <= 4:
        value = rng.choice([*NAMES, *map(str, NUMBERS)])
        rows[row][cell] = '"' + value.replace('"', '""') + '"' if rng.random() < 0.5 else value
    elif kind == 5:
        del rows[row]
    elif kind == 6:
        rows.insert(row, list(rows[rng.randrange(len(rows))]))
    elif kind == 7:
        for line in rows:
            del line[cell:][:1], line[cell : cell + 1]
    elif kind == 8:
        for line in rows:
            line.insert(cell, line[min(cell, len(line) - 1)] if line else "")
    elif kind == 9:
        rows[row].append(rng.choice(NAMES))
    elif kind == 10:
        rows[row][cell] = '"'
    elif kind == 11:
        rows[row][cell] = "9" * 200_000
    elif kind == 12:
        rows = rows[:1]
    joined = "\n".join(",".join(line) for line in rows) + "\n"
    if kind == 13:
        return rng.choice(
            [
                joined.encode("utf-16"),
                b"\xef\xbb\xbf" + joined.encode(),
                joined.replace(",", ";").encode(),
                b"\n" * 9,
            ]
        )
    return joined.encode("utf-8", "surrogatepass")


def alter_words(content: bytes, rng: random.Random) -> bytes:
    """A text such as TOML or XML: one of its words, numbers or lines."""
    lines = content.decode().splitlines(keepends=True)
    at = rng.randrange(len(lines))
    kind = rng.randrange(6)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(at, lines[rng.randrange(len(lines))])
    elif kind == 2:
        lines[at] = f"a = {nested(20_000)}\n"
    else:
        head, sign, tail = lines[at].partition("=")
        value = rng.choice([*map(json.dumps, NAMES), *map(str, NUMBERS), "[]", "{}", "true", "1979-05-27"])
        lines[at] = f"{head}{sign} {value}\n" if sign and kind < 5 else f"[{value[:60]}]\n{head}{sign}{tail}"
    return "".join(lines).encode("utf-8", "surrogatepass")


def alter_tensor_header(content: bytes, rng: random.Random) -> bytes:
    """A safetensors file whose header says something else: shapes of terabytes, offsets elsewhere."""
    length = int.from_bytes(content[:8], "little")
    header, payload = json.loads(content[8 : 8 + length]), content[8 + length :]
    kind = rng.randrange(8)
    names = [name for name in header if name != "__metadata__"]
    entry = header[rng.choice(names)]
    if kind == 0:
        entry["shape"] = rng.choice([[2**40], [2**62, 4], [10**30], [-1], [0], [1] * 1000, [2**20] * 3])
    elif kind == 1:
        entry["data_offsets"] = rng.choice([[0, 2**50], [2**62, 2**63], [-8, 8], [8, 0], [0, 4]])
    elif kind == 2:
        entry["dtype"] = rng.choice(["F64", "I8", "BF16", "F8_E4M3", "BOOL", "U64", "X", "", None, 3])
    elif kind == 3:
        declared = rng.choice([0, 1, 2**40, 2**63, 2**64 - 1, length + 1, length - 1])
        return declared.to_bytes(8, "little") + content[8:]
    elif kind == 4:
        name = rng.choice(names)
        header[rng.choice(NAMES)] = header.pop(name)
    elif kind == 5 and header.get("__metadata__"):
        metadata = header["__metadata__"]
        key = rng.choice(sorted(metadata))
        try:
            metadata[key] = _document_text(json.loads(metadata[key]), rng).decode("utf-8", "replace")
        except ValueError:
            metadata[key] = rng.choice([*NAMES, nested(DEEP)])
    else:
        changed = json.loads(_document_text(header, rng).decode("utf-8", "replace")) if kind == 6 else None
        header = alter_value(header, rng, hostile(rng)) if changed is None else changed
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + payload


def guarded(mutation: Mutation) -> Mutation:
    """A mutation that falls back on bytes where what is altered is no such document any more."""

    def mutate(content: bytes, rng: random.Random) -> bytes:
        try:
            return mutation(content, rng)
        except (ValueError, RecursionError, KeyError, TypeError, IndexError, AttributeError):
            return alter_bytes(content, rng)

    return mutate


BYTES: tuple[Mutation, ...] = (alter_bytes, alter_beginning, alter_numbers)
JSON: tuple[Mutation, ...] = (*[guarded(alter_json)] * 5, alter_bytes)
LINES: tuple[Mutation, ...] = (*[guarded(alter_json_lines)] * 5, alter_bytes)
TABLE: tuple[Mutation, ...] = (*[guarded(alter_table)] * 4, alter_bytes)
WORDS: tuple[Mutation, ...] = (*[guarded(alter_words)] * 4, alter_bytes)
TENSORS: tuple[Mutation, ...] = (*[guarded(alter_tensor_header)] * 3, *BYTES)


def alter_attributes(content: bytes, rng: random.Random) -> bytes:
    """An XML file: the value of one of its attributes, or an element that is nested or repeated."""
    text = content.decode()
    found = list(re.finditer(r'="([^"]*)"', text))
    at = rng.choice(found)
    kind = rng.randrange(6)
    if kind == 0:
        return (text[: at.start()] + " " + text[at.end() :]).encode()
    if kind == 1:
        return text.replace("<layers>", "<layers>" * rng.choice([2, 50_000])).encode()
    if kind == 2:  # entities that grow without bound where a parser expands them
        entities = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(12))
        return f'<!DOCTYPE x [<!ENTITY e0 "x">{entities}]><net name="&e12;">'.encode() + content
    value = rng.choice([*(str(n) for n in NUMBERS), *NAMES, found[0][1], rng.choice(found)[1]])
    escaped = value.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return (text[: at.start(1)] + escaped + text[at.end(1) :]).encode("utf-8", "surrogatepass")


class _Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran-code",)


def alter_torch_archive(content: bytes, rng: random.Random) -> bytes:
    """torch's zip format: a program in place of the data, compressed bombs, names that lead elsewhere."""
    kind = rng.randrange(5)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(out, "w") as written:
        names = archive.namelist()
        chosen = rng.choice(names)
        for name in names:
            data = archive.read(name)
            if kind == 0 and name.endswith("data.pkl"):
                data = pickle.dumps({"state_dict": _Runs()}, protocol=2)
            if kind == 1 and name == chosen:
                bomb = bytes(600 * 2**20)
                written.writestr(name, bomb, zipfile.ZIP_DEFLATED, compresslevel=1)
                continue
            if kind == 2 and name == chosen:
                continue
            if kind == 3 and name == chosen:
                name = rng.choice(["../../outside", "/tmp/outside", name.upper(), "a" * 60_000])
            if kind == 4 and name.endswith("data.pkl"):
                data = alter_bytes(data, rng)
            written.writestr(name, data)
    return out.getvalue()


def alter_picture(content: bytes, rng: random.Random) -> bytes:
    """A PNG whose header declares other sides, with the right checksum."""
    sides = rng.choice([(2**31 - 1, 2**31 - 1), (50_000, 50_000), (0, 5), (1, 2**30), (8000, 8000), (24, 25)])
    header = b"IHDR" + struct.pack(">II", *sides) + content[24:29]
    return content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:]


def alter_graph(content: bytes, rng: random.Random) -> bytes:
    """An ONNX file: shapes of terabytes, data elsewhere, operators and attributes of other kinds."""
    import onnx

    model = onnx.ModelProto.FromString(content)
    tensor, node = rng.choice(model.graph.initializer), rng.choice(model.graph.node)
    kind = rng.randrange(9)
    if kind == 0:
        tensor.dims[:] = rng.choice([[2**40], [2**62, 8], [-1], [], [0], [1] * 300])
    elif kind == 1:
        tensor.data_type = rng.choice([0, 1, 2, 7, 11, 16, 99])
    elif kind == 2:
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in {
            "location": rng.choice(["/etc/passwd", "../../x", "m.onnx"]),
            "length": "64",
        }.items():
            tensor.external_data.add(key=key, value=value)
    elif kind == 3:
        node.op_type = rng.choice(["Loop", "Identity", "Tile", "Expand", "ConstantOfShape", "", "X" * 1000])
    elif kind == 4 and node.input:
        node.input[0] = rng.choice(
            [*NAMES[:5], model.graph.node[-1].output[0], model.graph.initializer[0].name]
        )
    elif kind == 5:
        model.opset_import[0].version = rng.choice([0, -1, 2**60, 5, 99])
    elif kind == 6:
        model.ir_version = rng.choice([0, 2**60, 1, 99])
    elif kind == 7:
        entry = next((entry for entry in model.metadata_props), model.metadata_props.add())
        entry.value = rng.choice(
            [
                nested(DEEP),
                "{}",
                "x" * 10**6,
                alter_json(entry.value.encode(), rng).decode("utf-8", "replace"),
            ]
        )
    else:
        model.graph.input[0].type.tensor_type.shape.dim[-1].dim_value = rng.choice([0, -5, 2**40, 3])
    return bytes(model.SerializeToString())


XML: tuple[Mutation, ...] = (*[guarded(alter_attributes)] * 4, alter_bytes)
ARCHIVE: tuple[Mutation, ...] = (*[guarded(alter_torch_archive)] * 3, *BYTES)
PICTURE: tuple[Mutation, ...] = (alter_picture, *BYTES)
GRAPH: tuple[Mutation, ...] = (*[guarded(alter_graph)] * 4, *BYTES)
