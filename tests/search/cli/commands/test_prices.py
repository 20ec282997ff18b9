"""front, plot, report and export by the prices of other latency sources."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def root(priceable_runs: Path, tmp_path: Path) -> Path:
    shutil.copytree(priceable_runs / "searched", tmp_path / "searched")
    for name in ("phone.csv", "gpu.csv"):
        shutil.copyfile(priceable_runs / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def command(bitfront: Callable[..., Any], root: Path) -> Callable[..., Any]:
    return lambda name, *words: bitfront(name, "searched", *words, "--runs-dir", root)


def test_a_front_says_whose_prices_it_has(command: Any, root: Path) -> None:
    done = command("front", "--latency", f"table:{root / 'phone.csv'}", "--max-drop", 40)
    assert done.out.startswith(f"searched by table:{root / 'phone.csv'}: ")
    assert "prices: latencies are those of table:phone.csv (clock 1, a phone) for a batch of 1" in done.out
    assert "prices: --max-latency 18ms was asked of model:synthetic and is left out here" in done.out
    assert f"export searched --latency table:{root / 'phone.csv'} --pick knee" in done.err
    found = json.loads(command("front", "--latency", f"table:{root / 'phone.csv'}", "--json").out)
    assert found["prices"]["asked"] == f"table:{root / 'phone.csv'}"
    assert found["prices"]["machine"] == "a phone"


def test_several_sources_stand_side_by_side(command: Any, root: Path) -> None:
    sources = ["--latency", "run", "--latency", f"table:{root / 'phone.csv'}"]
    found = json.loads(command("front", *sources, "--json").out)
    own, phone = ({point["trial"] for point in each["front"]} for each in found["by_source"])
    assert set(found["on_all"]) == own & phone
    assert own != phone
    done = command("front", *sources)
    assert "A prices: those that the search went by, model:synthetic" in done.out
    assert f"on all fronts: {', '.join(map(str, found['on_all']))}" in done.out
    rows = {line.split()[0]: line for line in done.out.splitlines() if line.strip()}
    stars = [each["knee"] for each in found["by_source"]]
    assert all("★" in rows[str(star)] for star in stars)
    assert sum(line.count("★") for name, line in rows.items() if name.isdecimal()) == 2
    everything = command("front", *sources, "--all").out
    assert all(
        any(line.split()[:1] == [str(trial)] for line in everything.splitlines()) for trial in own | phone
    )
    assert "one front" in command("front", *sources, "--sort", "size").error


def test_files_by_other_prices_have_names_of_their_own(command: Any, root: Path) -> None:
    phone = ["--latency", f"table:{root / 'phone.csv'}"]
    assert command("plot", *phone, "--only", "front_size").out.strip() == str(
        root / "searched" / "plots-table_phone" / "front_size.png"
    )
    paths = json.loads(command("plot", *phone, "--latency", "run", "--only", "bit_map", "--json").out)[
        "plots"
    ]
    assert [Path(path).parent.name for path in paths] == ["plots-table_phone", "plots"]
    done = command("export", *phone, "--json")
    exported = json.loads(done.out)
    assert Path(exported["path"]).name == f"knee-table_phone-{exported['digest']}.json"
    assert exported["measured"]["latency_source"] == "table:phone.csv (clock 1, a phone)"
    assert json.loads(Path(exported["path"]).read_text())["provenance"]["prices"] == phone[1]
    assert "give --latency once" in command("export", *phone, "--latency", "run").error


def test_fronts_by_several_sources_are_one_picture(command: Any, root: Path) -> None:
    by_two = ["plot", "--latency", "run", "--latency", f"table:{root / 'phone.csv'}"]
    only = [*by_two, "--only", "front_by_source"]
    assert command(*only).out.split() == [str(root / "searched" / "plots" / "front_by_source.png")]
    assert command(*by_two, "--output", root / "a.png").out.split() == [str(root / "a.png")]
    every = [Path(path) for path in command(*by_two).out.split()]
    assert sum(path.name == "front_by_source.png" for path in every) == 1
    assert sum(path.name == "front.png" for path in every) == 2
    own = command(*by_two, "--only", "front", "--output", root / "b.png").error
    assert "b.png is one file, and each source has its own front: name a folder" in own
    alone = command("plot", "--only", "front_by_source").error
    assert "front_by_source shows a run by several sources: give --latency at least twice" in alone


def test_a_report_has_the_run_by_each(command: Any, root: Path) -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    done = command("report", "--latency", "run", "--latency", f"table:{root / 'phone.csv'}")
    page = Path(done.out.strip())
    assert page.name == "report-table_phone.html"
    text = page.read_text()
    assert "searched by table:" in text
    assert "and nothing was evaluated for these" in text


def test_a_batch_needs_a_source(command: Any) -> None:
    assert "--latency-batch 8 needs the source" in command("front", "--latency-batch", 8).error
