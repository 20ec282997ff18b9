"""Integer programs over an additive model, against every genome there is."""

from __future__ import annotations

import ctypes
import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from bitfront.search.samplers.surrogate.additive import additive_front, additive_optimum, gene_costs
from bitfront.spaces import BitConfig, EncoderLayers, SearchSpace

LINEAR = ("attn.qkv", "mlp.fc1")
Table = NDArray[np.float64]


def tables(genes: int, widths: int, seed: int) -> tuple[Table, Table, Table]:
    """Scores in nats and costs in bytes and milliseconds; narrower is worse and cheaper."""
    rng = np.random.default_rng(seed)
    falling = np.sort(rng.exponential(1e-4, (genes, widths)), 1)[:, ::-1]
    falling = falling - falling[:, -1:]
    rising = np.cumsum(rng.integers(1_000, 90_000, (genes, widths)), 1).astype(np.float64)
    return falling, rising, np.cumsum(rng.random((genes, widths)), 1)


def value(table: Table, genomes: NDArray[np.int64]) -> Table:
    return np.asarray(np.take_along_axis(table[None], genomes[:, :, None], 2)[:, :, 0].sum(1))


@pytest.mark.parametrize(("genes", "widths"), [(12, 2), (7, 3)])
def test_optima_are_those_of_all_genomes(genes: int, widths: int) -> None:
    scores, size, latency = tables(genes, widths, seed=1)
    every = np.array(list(itertools.product(range(widths), repeat=genes)))
    all_scores, sizes, times = (value(table, every) for table in (scores, size, latency))
    longest = float(np.median(times))
    checked = 0
    for bound in np.linspace(sizes.min(), sizes.max(), 12):
        allowed = (sizes <= bound) & (times <= longest)
        found = additive_optimum(scores, (size, latency), (float(bound), longest))
        if not allowed.any():
            assert found is None
            continue
        assert found is not None
        assert value(size, found[None])[0] <= bound
        assert value(latency, found[None])[0] <= longest
        assert value(scores, found[None])[0] == pytest.approx(all_scores[allowed].min(), rel=1e-9)
        checked += 1
    assert checked > 5


def test_genes_may_have_fewer_choices_than_others() -> None:
    sizes = (3, 2, 4, 2, 3)
    scores, size, latency = (
        np.where(np.arange(4) < np.array(sizes)[:, None], table, np.nan) for table in tables(5, 4, seed=4)
    )
    every = np.array(list(itertools.product(*map(range, sizes))))
    all_scores, sizes_of, times = (value(table, every) for table in (scores, size, latency))
    longest, checked = float(np.median(times)), 0
    for bound in np.linspace(sizes_of.min(), sizes_of.max(), 8):
        allowed = (sizes_of <= bound) & (times <= longest)
        found = additive_optimum(scores, (size, latency), (float(bound), longest))
        assert (found is not None) == allowed.any()
        if found is not None:
            assert value(scores, found[None])[0] == pytest.approx(all_scores[allowed].min(), rel=1e-9)
            checked += 1
    assert checked > 3
    front = additive_front(scores, (size,), 10)
    assert front[0].tolist() == [0] * 5
    assert (np.diff(value(size, front)) > 0).all()


def test_a_front_runs_from_the_cheapest_to_the_best_without_repeats() -> None:
    scores, size, _ = tables(36, 2, seed=2)
    front = additive_front(scores, (size,), 20)
    assert front[0].tolist() == [0] * 36
    assert front[-1].tolist() == [1] * 36
    costs, worth = value(size, front), value(scores, front)
    assert (np.diff(costs) > 0).all()
    assert (np.diff(worth) < 0).all()


def test_large_models_are_solved_to_a_ten_thousandth() -> None:
    scores, size, _ = tables(288, 2, seed=3)
    bound = float(size.min(1).sum() + 0.4 * (size.max(1) - size.min(1)).sum())
    found = additive_optimum(scores, (size,), (bound,))
    assert found is not None
    # The relaxed problem, solved greedily, bounds the score from below, to within the score of one gene.
    gain, saved = scores[:, 0] - scores[:, 1], size[:, 1] - size[:, 0]
    order = np.argsort(gain / saved)
    needed = size[:, 1].sum() - bound
    taken = np.clip((needed - np.concatenate([[0], np.cumsum(saved[order])[:-1]])) / saved[order], 0, 1)
    relaxed = float((taken * gain[order]).sum())
    rounded_up = float((np.ceil(taken) * gain[order]).sum())
    worth = float(value(scores, found[None])[0])
    assert value(size, found[None])[0] <= bound
    assert relaxed <= worth <= min(rounded_up, relaxed * 1.002)


def test_the_solver_leaves_stdout_alone(capfd: pytest.CaptureFixture[str]) -> None:
    print("kept")
    for seed in range(3):
        scores, size, _ = tables(96, 2, seed)
        additive_front(scores, (size,), 10)
    print("also kept")
    ctypes.CDLL(None).fflush(None)
    assert capfd.readouterr().out == "kept\nalso kept\n"


def test_costs_of_genes_are_their_changes_to_the_widest() -> None:
    encoders = tuple(EncoderLayers(index, f"blocks.{index}", LINEAR) for index in range(2))
    space = SearchSpace("m", "fq-vit", encoders, (4, 6, 8), "encoder-kind")

    def cost(config: BitConfig) -> float:
        return 1e6 + sum(
            10.0 * (e.index + 1) * e.bits("weights", layer) for e in config.encoders for layer in LINEAR
        )

    found = gene_costs(space, cost)
    weights = [space.gene_names.index(f"encoder0{index}.weights") for index in range(2)]
    assert found[weights].tolist() == [[-80.0, -40.0, 0.0], [-160.0, -80.0, 0.0]]
    assert not np.delete(found, weights, 0).any()
