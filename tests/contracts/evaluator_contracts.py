"""Contracts of the evaluators' protocols: an implementation's test subclasses one and gives its fixtures."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from bitfront.evaluators.data.source import HELD_OUT, NOT_TEST, SEARCH, TEST, TRAIN, UNUSED, ImageSource
from bitfront.evaluators.deployment.mappings.assignment import Assignment
from bitfront.evaluators.deployment.mappings.registry import ToolMapping
from bitfront.evaluators.latency.bench.entry import BenchEntry
from bitfront.evaluators.latency.timed_runtime import Subject, TimedRuntime
from bitfront.evaluators.quantized.kernels.backend import Kernels
from bitfront.evaluators.quantized.scheme import Scheme
from bitfront.evaluators.quantizers.grids import AffineGrid
from bitfront.evaluators.quantizers.observers import RangeObserver, TensorStatistics
from bitfront.evaluators.quantizers.weights import QuantizedWeight
from bitfront.search.samplers.surrogate.objective_model import PriorScores
from bitfront.spaces import SearchSpace


class ImageSourceContract:
    """What every :class:`ImageSource` does; the fixture is ``source``, with a few images."""

    @pytest.fixture
    def source(self) -> ImageSource:
        raise NotImplementedError

    def test_has_a_label_and_a_name_for_every_image(self, source: ImageSource) -> None:
        assert source.name
        assert len(source) > 0
        assert source.labels.shape == (len(source),)
        assert source.labels.dtype == np.int64
        assert source.labels.min() >= 0
        if source.class_names is not None:
            assert source.labels.max() < len(source.class_names)
        if source.partition is not None:
            assert source.partition.shape == (len(source),)
            uses = {TRAIN, HELD_OUT, SEARCH, TEST, NOT_TEST, UNUSED}
            assert set(source.partition.tolist()) <= uses
        names = [source.describe(index) for index in range(min(len(source), 5))]
        assert len(set(names)) == len(names)
        assert not any("\n" in name for name in names)

    def test_images_load_and_are_the_same_each_time(self, source: ImageSource) -> None:
        for index in {0, len(source) - 1}:
            image = source.load(index)
            assert isinstance(image, Image.Image)
            assert min(image.size) > 0
            assert np.array_equal(np.asarray(image), np.asarray(source.load(index)))


class RangeObserverContract:
    """What every :class:`RangeObserver` does; the fixture is ``observer``."""

    @pytest.fixture
    def observer(self) -> RangeObserver:
        raise NotImplementedError

    @pytest.mark.parametrize("site", ["blocks.0.norm1", "blocks.0.attn.softmax", "blocks.0.mlp.gelu"])
    @pytest.mark.parametrize("bits", [2, 4, 8])
    def test_the_range_lies_within_what_was_seen_and_does_not_change(
        self, observer: RangeObserver, site: str, bits: int
    ) -> None:
        values = torch.from_numpy(np.random.default_rng(0).standard_t(3, 4000)).float()
        statistics = TensorStatistics(site)
        statistics.observe_range(values)
        statistics.observe_histogram(values)
        low, high = observer.range(statistics, bits)
        slack = 1e-6 * (statistics.high - statistics.low)
        assert statistics.low - slack <= low < high <= statistics.high + slack
        assert observer.range(statistics, bits) == (low, high)


class ToolMappingContract:
    """What every :class:`ToolMapping` does; the fixtures are ``tool`` and ``assignment``."""

    @pytest.fixture
    def tool(self) -> ToolMapping:
        raise NotImplementedError

    def test_says_the_bits_in_json_and_what_it_cannot_say_in_sentences(
        self, tool: ToolMapping, assignment: Assignment
    ) -> None:
        assert tool.name
        assert tool.package
        assert tool.tried[0].isdigit()
        mapping = tool.mapping(assignment)
        assert mapping
        assert json.loads(json.dumps(mapping, allow_nan=False)) == mapping
        assert tool.mapping(assignment) == mapping
        assert all(note.endswith(".") and "\n" not in note for note in tool.notes(assignment))


class TimedRuntimeContract:
    """What every :class:`TimedRuntime` does; the fixtures are ``timer`` and ``subject``."""

    @pytest.fixture
    def timer(self) -> TimedRuntime:
        raise NotImplementedError

    def test_names_its_source_and_its_machine(self, timer: TimedRuntime, subject: Subject) -> None:
        assert timer.source.startswith("measured:")
        assert timer.machine(subject)
        assert timer.row >= 1
        assert timer.models_at_once is None or timer.models_at_once >= 1
        assert isinstance(timer.needs_codes, bool)

    def test_every_part_runs_more_than_once(self, timer: TimedRuntime, subject: Subject) -> None:
        runs = [
            timer.float_model(subject, 2),
            timer.model(subject, subject.widest, 2),
            timer.encoder(subject, 0, (4, 8, 8), 2),
            timer.rest(subject, 2),
        ]
        for run in runs:
            run()
            run()

    def test_equal_precisions_are_equal_programs(self, timer: TimedRuntime) -> None:
        assert timer.program((8, 8, 8)) == timer.program((8, 8, 8))
        assert hash(timer.program((8, 4, 8))) == hash(timer.program((8, 4, 8)))
        assert timer.program((8, 8, 8)) != timer.program((8, 8, 4))


class KernelsContract:
    """What every set of :class:`Kernels` does: integer products are exact; the fixture is ``kernels``."""

    @pytest.fixture
    def kernels(self) -> Kernels:
        raise NotImplementedError

    def test_describes_itself(self, kernels: Kernels) -> None:
        assert kernels.description
        assert all(isinstance(note, str) for note in kernels.notes)
        assert isinstance(kernels.device, torch.device)

    @pytest.mark.parametrize(("rows", "out", "inner"), [(1, 3, 5), (7, 17, 100), (20, 40, 513)])
    def test_linear_layers_are_exact_in_integers(
        self, kernels: Kernels, rows: int, out: int, inner: int
    ) -> None:
        generator = torch.Generator().manual_seed(inner)
        codes = torch.randint(0, 256, (rows, inner), generator=generator, dtype=torch.uint8)
        weight = torch.randint(-128, 128, (out, inner), generator=generator, dtype=torch.int8)
        scales, bias = (make(out, device=kernels.device) for make in (torch.ones, torch.zeros))
        layer = kernels.linear(QuantizedWeight(weight.to(kernels.device), scales, 8), bias)
        wanted = (codes.long() - 113) @ weight.long().T
        found = layer.to_float(codes.to(kernels.device), AffineGrid(1.0, 113, 255)).cpu()
        assert found.dtype == torch.float32
        assert torch.equal(found.long(), wanted)
        step = 2.0 ** int(np.ceil(np.log2(max(1, int(wanted.abs().max())) / 120)))
        requantized = layer.to_codes(
            codes.to(kernels.device), AffineGrid(1.0, 113, 255), AffineGrid(step, 128, 255)
        )
        assert requantized.dtype == torch.uint8
        exact = wanted.double() / step + 128
        assert float((requantized.cpu().double() - exact).abs().max()) <= 0.5 + 1e-6


class StagesContract:
    """What the stages of every :class:`Scheme` do; ``scheme`` has those of ``blueprint``, a ViT."""

    @pytest.fixture
    def scheme(self) -> Scheme:
        raise NotImplementedError

    def test_the_stream_goes_through_every_stage(self, scheme: Scheme, blueprint) -> None:  # type: ignore[no-untyped-def]
        batch, encoder = 2, blueprint.encoders[0]
        prefix = scheme.prefix()
        assert prefix.shape[-1] == encoder.channels
        stream = prefix[:1].expand(batch * encoder.tokens, encoder.channels).clone()
        for step in (scheme.positions(), scheme.embed_norm()):
            if step is not None:
                stream = step(stream)
        kind = stream.dtype
        for number in (1, 2):
            codes = scheme.norm(0, number, 8)(stream)
            assert (codes.dtype, codes.shape) == (torch.uint8, stream.shape)
        for update in scheme.updates(0):
            following = scheme.norm(0, 2, 8)
            added = stream.clone() if kind == torch.float32 else torch.full_like(stream, 128)
            whole, codes = update.add_norm(stream.clone(), added, following)
            assert torch.equal(whole, update.add(stream.clone(), added))
            assert (whole.dtype, whole.shape, codes.dtype) == (kind, stream.shape, torch.uint8)
        scores = scheme.scores(0, 8)
        assert scores.factors.numel() in (1, encoder.heads)
        read = scheme.final_norm()(stream)
        assert (read.dtype, read.shape) == (torch.uint8, stream.shape)
        logits = torch.randn(batch, 7)
        assert scheme.logits(logits).shape == logits.shape
        assert torch.equal(scheme.logits(logits).argmax(-1), logits.argmax(-1))


class BenchEntryContract:
    """What every :class:`BenchEntry` of a benchmark does; the fixture is ``entry``."""

    @pytest.fixture
    def entry(self) -> BenchEntry:
        raise NotImplementedError

    def test_loads_runs_and_counts(self, entry: BenchEntry) -> None:
        assert entry.path.exists()
        entry.import_libraries()
        loaded = entry.load(1)
        loaded.run()
        loaded.run()
        assert loaded.products() is not None


class ScoresContract:
    """What every :class:`PriorScores` does; the fixtures are ``scores`` and ``space``."""

    @pytest.fixture
    def scores(self) -> PriorScores:
        raise NotImplementedError

    def test_the_widest_diverges_from_itself_by_nothing(
        self, scores: PriorScores, space: SearchSpace
    ) -> None:
        assert scores.additive.shape == (len(space), max(space.sizes))
        assert np.isfinite(scores.additive).sum(1).tolist() == list(space.sizes)
        assert not scores.additive[np.arange(len(space)), space.widest].any()
        assert scores.predicted_kl(np.array([space.widest])).tolist() == [0.0]
        genomes = np.array(space.sample(np.random.default_rng(0), 4))
        assert scores.predicted_kl(genomes).shape == (4,)
        assert np.isfinite(scores.predicted_kl(genomes)).all()
