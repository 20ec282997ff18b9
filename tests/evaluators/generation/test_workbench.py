"""A workbench: equal seeds give equal pictures, formats of genes reach the graphs, and NaN gets one line."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from generation_cases import FORMATS, class_bench, class_pipeline

from bitfront.evaluators.generation.costs import CostTable, PartTimes, counted
from bitfront.evaluators.generation.graphs import constant_bytes
from bitfront.evaluators.generation.workbench import PictureFigures, Workbench
from bitfront.spaces import UserError


@pytest.fixture(scope="module")
def bench() -> Workbench:
    return class_bench()


def test_genes_are_blocks_and_what_is_beyond(bench: Workbench) -> None:
    blocks = tuple(f"transformer.transformer_blocks.{i}" for i in range(2))
    assert bench.components == (("transformer", (*blocks, "transformer.rest")), ("vae", ("vae",)))


def test_float_pictures_are_those_of_torch(bench: Workbench) -> None:
    calls = {part.name: part.module for part in bench.pipeline.parts}
    with torch.inference_mode():
        expected = bench.pipeline.pictures(calls, bench.jobs, bench.sampling)
    assert torch.allclose(bench.reference, expected, atol=1e-4)


def test_equal_seeds_give_equal_pictures_to_the_bit(bench: Workbench) -> None:
    formats = bench.everywhere("int8")
    bench._compiled.clear()
    first = bench.pictures(formats, bench.jobs)
    bench._compiled.clear()
    assert torch.equal(first, bench.pictures(formats, bench.jobs))
    assert torch.equal(first[1:], bench.pictures(formats, bench.jobs[1:]))


def test_wider_formats_are_nearer_to_float(bench: Workbench) -> None:
    psnr = {name: bench.figures(bench.everywhere(name)).quality()["psnr"] for name in FORMATS}
    assert psnr["fp32"] == 100.0
    assert psnr["int8w"] > psnr["int4w"]
    assert psnr["int8w"] > psnr["int8"]


def test_a_block_alone_costs_less_than_all(bench: Workbench) -> None:
    everywhere = bench.figures(bench.everywhere("int8")).quality()
    alone = bench.everywhere("fp32") | {bench.genes[0]: "int8"}
    assert bench.figures(alone).quality()["mse"] < everywhere["mse"]


def test_counted_bytes_are_those_of_the_graphs(bench: Workbench) -> None:
    times = {part.name: PartTimes(1, dict.fromkeys(FORMATS, 1.0), 0.0) for part in bench.pipeline.parts}
    table = counted(bench, FORMATS, times, 0.5)
    for name in ("fp32", "bf16"):
        formats = bench.everywhere(name)
        held = sum(constant_bytes(bench.graphs[p.name].assembled(formats)) for p in bench.pipeline.parts)
        assert table.size_bytes(formats) == held
    narrow = table.size_bytes(bench.everywhere("int4w"))
    assert narrow < table.size_bytes(bench.everywhere("int8w")) < table.size_bytes(bench.everywhere("bf16"))
    assert table.latency_ms(bench.everywhere("int8")) == pytest.approx(2.5)
    assert sum(table.shares.values()) == pytest.approx(2.0)
    assert CostTable.from_json(table.to_json()) == table


def test_figures_are_read_as_they_were_written() -> None:
    found = PictureFigures((30.0, 40.0), (0.9, 0.95), (1e-3, 1e-4), None, 0.5, 1.0)
    assert PictureFigures.from_json(found.to_json()) == found
    assert found.quality().figures()["psnr"] == 35.0
    with_lpips = dataclasses.replace(found, lpips=(0.1, 0.3))
    assert PictureFigures.from_json(json.loads(json.dumps(with_lpips.to_json()))) == with_lpips
    assert with_lpips.quality()["lpips"] == pytest.approx(0.2)
    earlier = {name: value for name, value in found.to_json().items() if name != "lpips"}
    assert PictureFigures.from_json(earlier) == found


@pytest.mark.thorough
def test_pictures_that_are_no_numbers_get_one_line() -> None:
    pipeline = class_pipeline()
    with torch.no_grad():
        next(pipeline.parts[1].module.module.decoder.parameters()).fill_(float("nan"))
    source = class_bench()
    bench = Workbench(pipeline, source.jobs, source.calibration, source.sampling, ("fp32", "bf16"))
    with pytest.raises(UserError, match="2 of 2 pictures of tiny have values that are no numbers"):
        bench.prepare()
