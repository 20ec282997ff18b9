"""Files of timings come from elsewhere: what is not as the program writes it is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from probe_timings import timings_of

from bitfront.evaluators.latency.probes.timings import read_timings
from bitfront.spaces import UserError

Harm = Callable[[dict[str, Any]], object]


def written(folder: Path, document: Any) -> Path:
    path = folder / "timings.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_what_was_written_is_read(tmp_path: Path, manifest: dict[str, Any]) -> None:
    read = read_timings(written(tmp_path, timings_of(manifest, threads=2, batch=8, rounds=3)))
    assert (read.machine, read.probed.scheme, read.probed.row) == ("abacus", "deploy", 4)
    (one,) = read.sets
    assert (one.runtime, one.threads, one.batch, len(one.means["rest"])) == ("openvino", 2, 8, 3)
    assert read.probed.entries["17x32h2m128", (8, 8, 8)] == "encoder-0-0"


def _run(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["runs"][0]
    return found


DAMAGES: dict[str, Harm] = {
    "another form": lambda d: d.update(format="x"),
    "another version": lambda d: d.update(version=2),
    "no model": lambda d: d["probe"].pop("model"),
    "a text for a list": lambda d: d["probe"].update(encoders="abc"),
    "an unknown scheme": lambda d: d["probe"].update(scheme="magic"),
    "control characters": lambda d: d.update(machine="a\x1b[2Jb"),
    "a row of nothing": lambda d: d["probe"].update(row=0),
    "an unknown format": lambda d: d["probe"]["entries"].append(["17x32h2m128", [9, 8, 8], ""]),
    "an entry less": lambda d: d["probe"]["entries"].pop(0),
    "an unknown probe": lambda d: d["probe"]["entries"][0].__setitem__(2, "none"),
    "a probe of no encoder": lambda d: d["probe"]["entries"][0].__setitem__(2, "rest"),
    "a name of two lines": lambda d: d["probe"]["runtimes"]["openvino"]["probes"][0].update(name="a\nb"),
    "a fitted heaviest shape": lambda d: d["probe"]["entries"][2].__setitem__(2, ""),
    "probes of one name": lambda d: d["probe"]["runtimes"]["openvino"]["probes"][1].update(name="rest"),
    "no whole model": lambda d: d["probe"]["runtimes"]["openvino"].update(
        probes=[p for p in d["probe"]["runtimes"]["openvino"]["probes"] if p["part"] != "anchor"]
    ),
    "an unknown part": lambda d: d["probe"]["runtimes"]["openvino"]["probes"][0].update(part="wheel"),
    "a model of other encoders": lambda d: d["probe"]["runtimes"]["openvino"]["probes"][-1]["encoders"].pop(),
    "an unknown runtime": lambda d: _run(d).update(runtime="abacus"),
    "no threads": lambda d: _run(d).update(threads=0),
    "a share of an image": lambda d: _run(d).update(batch=1.5),
    "true for a number": lambda d: _run(d).update(batch=True),
    "a negative time": lambda d: _run(d)["mean"]["rest"].__setitem__(0, -1.0),
    "no number": lambda d: _run(d)["mean"]["rest"].__setitem__(0, float("nan")),
    "a time in words": lambda d: _run(d)["mean"]["rest"].__setitem__(0, "1"),
    "a round less": lambda d: _run(d)["mean"]["rest"].pop(),
    "no rounds": lambda d: _run(d).update(mean={name: [] for name in _run(d)["mean"]}),
    "a probe less": lambda d: _run(d)["mean"].pop("check-0"),
    "an impossible share": lambda d: _run(d).update(stopped=2),
    "the same twice": lambda d: d["runs"].append(d["runs"][0]),
    "nothing": lambda d: d.update(runs=[]),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_refused_in_a_line(tmp_path: Path, manifest: dict[str, Any], name: str) -> None:
    document = json.loads(json.dumps(timings_of(manifest, rounds=3)))
    DAMAGES[name](document)
    with pytest.raises(UserError, match=r"timings .* are damaged, or none of a probe folder") as error:
        read_timings(written(tmp_path, document))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, '{"format": 1}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match="take it again from where") as error:
        read_timings(written(tmp_path, text))
    assert "\n" not in str(error.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone.json cannot be read"):
        read_timings(tmp_path / "gone.json")
