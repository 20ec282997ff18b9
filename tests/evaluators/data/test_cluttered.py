"""Cluttered digits: always the same, disjoint scans, three whole digits among pieces of others."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from bitfront.evaluators.data.cluttered import (
    CANVASES,
    CLUTTER,
    DIGIT,
    DIGITS_READ,
    PIECE,
    PIECES,
    SIDE,
    Canvases,
    ClutteredDigitsSource,
    number_of,
    training_scans,
)
from bitfront.evaluators.data.digits import DigitsSource
from bitfront.evaluators.data.registry import open_source
from bitfront.evaluators.data.source import SEARCH, TEST, TRAIN
from bitfront.evaluators.data.splits import make_splits


@pytest.fixture(scope="module")
def source() -> ClutteredDigitsSource:
    return ClutteredDigitsSource()


class TestSource:
    def test_its_canvases_serve_for_one_split_each(self, source: ClutteredDigitsSource) -> None:
        assert len(source) == sum(CANVASES.values())
        assert CANVASES[TEST] == 4000
        found = make_splits(source, calibration=128, search=None, test=None, seed=0, tell_apart=0.5)
        uses = [set(source.partition[indices]) for indices in (found.calibration, found.search, found.test)]
        assert uses == [{TRAIN}, {SEARCH}, {TEST}]
        assert (len(found.search), len(found.test)) == (CANVASES[SEARCH], CANVASES[TEST])

    def test_digits_are_as_frequent_at_every_place(self, source: ClutteredDigitsSource) -> None:
        for use in CANVASES:
            numbers = source.labels[source.partition == use]
            assert (numbers.min(), numbers.max()) >= (0, 900)
            for place in range(DIGITS_READ):
                counts = np.bincount(numbers // 10**place % 10, minlength=10)
                assert counts.min() > 0.6 * counts.mean()

    def test_scans_serve_for_one_use_and_are_never_trained_on(self, source: ClutteredDigitsSource) -> None:
        scans, labels = training_scans()
        assert len(scans) == len(labels) == 1078
        trained = {scan.tobytes() for scan in scans}
        held_out = {
            use: {np.asarray(scan)[2:-2, 2:-2].tobytes() for scan in canvases._scans}
            for use, canvases in source._canvases.items()
        }
        everything = [trained, *held_out.values()]
        assert sum(map(len, everything)) == len(set.union(*everything)) == len(DigitsSource())

    def test_a_canvas_has_the_number_of_its_scans(self, source: ClutteredDigitsSource) -> None:
        digits = DigitsSource()
        by_scan = {scan.tobytes(): label for scan, label in zip(digits.scans, digits.labels, strict=True)}
        assert number_of(np.array([[0, 4, 2], [9, 0, 7]])).tolist() == [42, 907]
        for index in (0, CANVASES[TRAIN] - 1, CANVASES[TRAIN], len(source) - CANVASES[TEST], len(source) - 1):
            scans = source._canvases[str(source.partition[index])]._scans
            shown = [np.asarray(scans[scan])[2:-2, 2:-2] for scan in source._scans[index]]
            read = "".join(str(by_scan[scan.tobytes()]) for scan in shown)
            assert read == source.class_names[source.labels[index]]

    def test_canvases_are_greyscale_and_differ(self, source: ClutteredDigitsSource) -> None:
        pixels = [np.asarray(source.load(index)) for index in range(100)]
        assert {(canvas.shape, canvas.dtype) for canvas in pixels} == {((SIDE, SIDE), np.dtype(np.uint8))}
        assert len({canvas.tobytes() for canvas in pixels}) == 100
        assert source.load(7).mode == "L"
        assert source.describe(7) == "cluttered canvas 7"
        assert len(source.class_names) == 1000
        assert source.class_names[7] == "007"

    def test_canvases_are_those_that_the_weights_were_judged_by(self) -> None:
        # Interpolation may round to a neighbouring value elsewhere, so that means are compared.
        found = open_source("cluttered")
        some = range(0, len(found), 650)
        canvases = np.stack([np.asarray(found.load(index)) for index in some])
        again = np.stack([np.asarray(ClutteredDigitsSource().load(index)) for index in some])
        assert np.array_equal(canvases, again)
        labels = hashlib.sha256(np.asarray(found.labels).astype(np.int16).tobytes()).hexdigest()
        assert labels[:12] == "c1cea10c2c1a"
        assert canvases.mean((1, 2)).round(1).tolist() == pytest.approx(
            [27.8, 26.9, 28.2, 33.0, 37.5, 36.4, 31.7, 36.2, 35.3], abs=0.2
        )


class TestCanvases:
    def test_digits_are_whole_where_they_are_said_to_be(self) -> None:
        scans, _ = training_scans()
        canvases = Canvases(scans)
        for seed, number in enumerate(np.arange(1077).reshape(-1, DIGITS_READ)[::20].tolist()):
            canvas, within = canvases.compose(number, np.random.default_rng(seed))
            draws = np.random.default_rng(seed).random((PIECES + DIGITS_READ, 8))[PIECES:]
            for at, (scan, draw) in enumerate(zip(number, draws, strict=True)):
                ink = DIGIT.apply(canvases._scans[scan], draw)
                rows, columns = np.nonzero(within == at)
                top, left = rows.min(), columns.min()
                # a wide neighbour may cover its right edge
                shown = canvas[top : top + ink.shape[0], left : columns.max() + 1]
                assert (shown >= ink[:, : shown.shape[1]]).all()
                assert shown.shape[1] >= ink.shape[1] - 3

    def test_digits_stand_in_order(self) -> None:
        scans, _ = training_scans()
        canvases = Canvases(scans)
        for seed in range(30):
            _, within = canvases.compose([0, 1, 2], np.random.default_rng(seed))
            columns = [np.nonzero((within == at).any(0))[0] for at in range(3)]
            left, middle, right = (np.median(where) for where in columns)
            assert left + 5 < middle < right - 5

    def test_pieces_are_beside_and_upon_digits(self) -> None:
        scans, _ = training_scans()
        canvases = Canvases(scans)
        canvas, within = canvases.compose([5, 6, 7], np.random.default_rng(3))
        assert 0 < int((canvas[within < 0] > 0).sum()) <= PIECES * PIECE**2


class TestDistortion:
    def test_enlargement_is_in_pixels_of_the_canvas(self) -> None:
        scan = Canvases(np.full((1, 8, 8), 255, dtype=np.uint8))._scans[0]
        least, largest = DIGIT.enlargement
        for draw, factor in ((0.0, least), (1.0, largest)):
            ink = DIGIT.apply(scan, np.array([draw, draw, 0.5, 0.5]))
            inked = [int((ink > 127).any(axis).sum()) for axis in (0, 1)]
            assert inked == pytest.approx([8 * factor] * 2, abs=1.0)

    def test_half_a_turn_is_the_scan_upside_down(self) -> None:
        scans, _ = training_scans()
        scan = Canvases(scans[:1])._scans[0]
        upright = CLUTTER.apply(scan, np.array([0.5, 0.5, 0.5, 0.5]))
        turned = CLUTTER.apply(scan, np.array([0.5, 0.5, 1.0, 0.5]))
        assert np.abs(upright.astype(int) - turned[::-1, ::-1]).max() <= 2
