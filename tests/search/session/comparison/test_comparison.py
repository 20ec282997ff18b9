"""Comparing samplers: evaluations are paid for once and never lost, and figures are what they say."""

import csv
import io
import math

import numpy as np
import pytest
from PIL import Image
from search_contracts import PoolContract

from bitfront.search.engine.protocols import InlinePool
from bitfront.search.estimation.estimates import judged
from bitfront.search.problem.archive import Archive
from bitfront.search.problem.spec import RunSpec
from bitfront.search.problem.trial import EvaluationFailure
from bitfront.search.reports.comparison import csv_text, fitting, markdown, remarks, sections
from bitfront.search.reports.plots.comparison import draw_comparison
from bitfront.search.session.comparison.document import (
    FIXED,
    TIGHT,
    Goal,
    Spread,
    comparison_document,
    curve,
    evaluations_to,
    judged_together,
    marks,
)
from bitfront.search.session.comparison.searches import PlannedSearch, SharedSearches
from bitfront.search.session.comparison.settings import ComparisonSettings, parse_samplers
from bitfront.search.session.comparison.shared_evaluations import EVALUATIONS, SharedEvaluations, SharingPool
from bitfront.spaces import BitfrontError, UserError

SAMPLERS = ("nsga2", "random", "optuna-nsga2")
ENTRIES = [PlannedSearch(sampler, seed, 40) for seed in range(2) for sampler in SAMPLERS]


class Counted:
    """Evaluates by formula, and counts; ends the process, as a kill would, after some evaluations."""

    def __init__(self, synthetic, last=math.inf, failing=0):
        self.score, self.last, self.failing, self.digests = synthetic.score, last, failing, []

    def __call__(self, config, required):
        assert required is None, "what one search may stop early, another one needs whole"
        if len(self.digests) >= self.last:
            raise SystemExit
        self.digests.append(config.digest)
        if self.failing and int(config.digest, 16) % self.failing == 0:
            raise RuntimeError("no such kernel")
        return self.score(config)


@pytest.fixture(scope="module")
def problem(synthetic):
    return synthetic.problem(
        RunSpec(objectives=("top1", "size"), max_drop=30.0), synthetic.space("encoder", 8)
    )


def compared(synthetic, problem, folder, entries=ENTRIES, **how):
    evaluate = Counted(synthetic, **how)
    return SharedSearches(problem, InlinePool(evaluate), folder).run(entries, lambda share: None), evaluate


def test_searches_share_evaluations_and_are_those_of_a_search_alone(synthetic, problem, tmp_path):
    (tmp_path / "all").mkdir()
    searches, evaluate = compared(synthetic, problem, tmp_path / "all", failing=9)
    assert [searched.entry for searched in searches] == ENTRIES
    paid = {t.digest for searched in searches for t in searched.trials if t.paid}
    assert len(evaluate.digests) == len(paid) < 40 * len(ENTRIES)
    assert set(evaluate.digests) == paid
    for searched in searches:
        assert sum(trial.paid for trial in searched.trials) == 40
        assert searched.proposing_s > 0.0
        alone = tmp_path / searched.entry.file_name
        alone.mkdir()
        (again,), _ = compared(synthetic, problem, alone, [searched.entry], failing=9)
        assert again.trials == searched.trials
    assert any(trial.state == "failed" for trial in searches[0].trials)


@pytest.fixture(scope="module")
def whole(synthetic, problem, tmp_path_factory):
    return compared(synthetic, problem, tmp_path_factory.mktemp("whole"))


def test_configurations_of_all_searches_are_judged_together(problem, whole):
    """Searches number their trials alike, and each trial counts all the same, once."""
    searches, _ = whole
    found, none = judged_together(problem, searches, None)
    back, _ = judged_together(problem, searches[::-1], None)
    assert none is None
    estimates = {}
    for before, after in zip(searches, found, strict=True):
        assert [(t.number, t.digest) for t in after.trials] == [(t.number, t.digest) for t in before.trials]
        for trial in after.trials:
            assert ("top1_estimate" in trial.values) == (trial.state == "complete")
            estimates.setdefault(trial.digest, set()).add(trial.values.get("top1_estimate"))
    assert all(len(values) == 1 for values in estimates.values())
    for searched in back:
        for trial in searched.trials:
            if trial.state == "complete":
                assert trial.values["top1_estimate"] == pytest.approx(*estimates[trial.digest])


@pytest.mark.parametrize("moment", [1, 41, 100])
def test_a_kill_loses_no_evaluation(synthetic, problem, tmp_path, whole, moment):
    uncut, evaluate = whole
    (tmp_path / "cut").mkdir()
    with pytest.raises(SystemExit):
        compared(synthetic, problem, tmp_path / "cut", last=moment)
    with (tmp_path / "cut" / EVALUATIONS).open("a") as file:
        file.write('{"digest": "abc", "images"')
    resumed, rest = compared(synthetic, problem, tmp_path / "cut")
    assert [s.trials for s in resumed] == [s.trials for s in uncut]
    assert len(rest.digests) == len(evaluate.digests) - moment
    again, nothing = compared(synthetic, problem, tmp_path / "cut")
    assert again == resumed, "what is finished is read, with the time it took"
    assert nothing.digests == []


def test_a_damaged_line_is_named(synthetic, problem, tmp_path):
    compared(synthetic, problem, tmp_path, ENTRIES[:1])
    path = tmp_path / EVALUATIONS
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], lines[2][:-9], *lines[3:]]) + "\n")
    with pytest.raises(BitfrontError, match=r"evaluations.jsonl is damaged in line 3: remove that line"):
        SharedEvaluations(path)


def test_failures_are_shared_too(tmp_path):
    evaluations = SharedEvaluations(tmp_path / EVALUATIONS)
    evaluations.add("abc", EvaluationFailure("no such kernel"))
    again = SharedEvaluations(tmp_path / EVALUATIONS)
    assert again.get("abc") == EvaluationFailure("no such kernel")
    assert again.get("abd") is None
    assert len(again) == 1


@pytest.fixture(scope="module")
def finished(synthetic, problem, tmp_path_factory):
    evaluate = Counted(synthetic)
    comparison = SharedSearches(problem, InlinePool(evaluate), tmp_path_factory.mktemp("finished"))
    everything = comparison.evaluate_all(0, lambda share: None)
    shares = []
    searches = comparison.run([*ENTRIES, PlannedSearch("exhaustive", 0, 256)], shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(evaluate.digests) == len(comparison.evaluations) == sum(t.paid for t in everything) == 254
    return everything, searches


def test_figures_are_shares_of_the_true_front(problem, finished):
    everything, searches = finished
    document = comparison_document(problem, searches, everything, 256)
    everything = judged(problem, everything)
    goal, truth = document["goal"], Archive(problem.objectives, everything)
    assert (goal["front"], goal["points"]) == ("the true front", len(truth.front))
    assert goal["boxes"]["fixed"]["hypervolume"] == problem.box.share(truth.front_points)
    by_name = {sampler["sampler"]: sampler for sampler in document["samplers"]}
    last = by_name["exhaustive"]["hypervolume"]["tight"][-1]
    assert (last["evaluations"], last["median"]) == (256, 1.0)
    assert by_name["exhaustive"]["evaluated"] == [254]
    assert 1 < by_name["exhaustive"]["to_99_percent"]["tight"]["median"] < 254
    for name in SAMPLERS:
        (first, *_, end) = by_name[name]["hypervolume"]["fixed"]
        assert 0.0 < first["least"] <= first["q1"] <= first["median"] <= first["q3"] <= first["most"] <= 1.0
        assert first["median"] < end["median"]
        assert by_name[name]["seeds"] == [0, 1]
    feasible = [trial for trial in everything if trial.feasible]
    assert len(feasible) < 254
    front = Archive(problem.objectives, feasible).front_points
    tops, sizes = [-top1 for top1, _ in front], [size for _, size in front]
    corners = goal["boxes"]["tight"]
    assert corners["ideal_point"] == {"top1": max(tops), "size_bytes": min(sizes)}
    assert corners["reference_point"] == {"top1": min(tops), "size_bytes": max(sizes)}


def test_without_truth_the_front_of_all_searches_is_the_goal(problem, finished):
    _, searches = finished
    document = comparison_document(problem, searches[:3], None, 40)
    assert document["goal"]["front"] == "the front of all searches together"
    trials = [trial for searched in searches[:3] for trial in searched.trials]
    union = Goal.of(problem, trials, true=False)
    best = max(sampler["hypervolume"]["fixed"][-1]["median"] for sampler in document["samplers"])
    assert 0.9 < best <= 1.0
    assert union.hypervolumes[FIXED] == pytest.approx(
        problem.box.share(Archive(problem.objectives, trials).front_points)
    )


def test_a_front_of_one_point_spans_no_box(problem, finished):
    everything, _ = finished
    point = next(trial for trial in everything if trial.feasible)
    assert set(Goal.of(problem, [point], true=False).boxes) == {FIXED}
    assert set(Goal.of(problem, everything, true=True).boxes) == {FIXED, TIGHT}


def test_tables_and_picture_have_every_sampler(problem, finished, tmp_path):
    everything, searches = finished
    document = {
        **comparison_document(problem, searches, everything, 256),
        "model": "synthetic", "space": "encoder", "evaluated": 254, "interrupted": True, "notes": ["a note"],
    }  # fmt: skip
    tables = list(sections(document))
    assert len(tables) == 2
    for heading, columns, rows in tables:
        assert "share of that of the true front" in heading
        assert columns[0] == "sampler"
        assert columns[-2:] == ["256", "to 99 %"]
        assert [row[0] for row in rows] == [*SAMPLERS, "exhaustive"]
        assert {len(row) for row in rows} == {len(columns)}
    written = markdown(document)
    assert written.count("| nsga2 |") == 2
    assert "- stopped before all searches were finished" in written
    assert any("tight box: top1 " in line for line in remarks(document))
    table = list(csv.DictReader(io.StringIO(csv_text(document))))
    assert len(table) == 256 * 7
    last = [float(row["hypervolume_tight"]) for row in table if row["sampler"] == "exhaustive"][-1]
    assert last == 1.0
    path = draw_comparison(document, tmp_path / "comparison.png", "synthetic")
    with Image.open(path) as picture:
        assert picture.width > 1200


def test_a_narrow_terminal_gets_every_second_column_and_the_last():
    columns = ["sampler", "20", "40", "60", "80", "100", "150", "200", "to 99 %"]
    rows = [["nsga2", *"abcdefg", "77"]]
    assert fitting(columns, rows, 240) == (columns, rows)
    assert fitting(columns, rows, 80) == (["sampler", "60", "200", "to 99 %"], [["nsga2", "c", "g", "77"]])
    assert fitting(columns, rows, 20)[0] == ["sampler", "200", "to 99 %"]


def test_curves_extend_to_all_evaluations_and_count_feasible_ones(problem, finished):
    everything, searches = finished
    rows = curve(searches[0].trials, problem.objectives, problem.box, 60)
    assert rows.shape == (60,)
    assert (np.diff(rows) >= 0.0).all()
    assert (rows[39:] == rows[39]).all()
    infeasible = [trial for trial in everything if not trial.feasible]
    assert not curve(infeasible, problem.objectives, problem.box, 10).any()


def test_marks_are_round_numbers_and_end_with_all():
    assert marks(100) == (20, 40, 60, 80, 100)
    assert marks(250) == (20, 40, 60, 80, 100, 150, 200, 250)
    assert marks(4096)[-4:] == (2000, 3000, 4000, 4096)
    assert marks(12) == (3, 6, 9, 12)
    assert marks(1) == (1,)


def test_levels_that_are_not_reached_count_as_later_than_any():
    curves = np.array([[0.1, 0.5, 0.99], [0.99, 1.0, 1.0], [0.2, 0.3, 0.4]])
    reached = evaluations_to(curves, 0.99)
    assert reached.tolist() == [3.0, 1.0, math.inf]
    assert Spread.of(reached) == Spread(3.0, 2.0, math.inf, 1.0, math.inf)
    assert Spread.of(np.full(3, math.inf)).median == math.inf
    assert Spread.of(np.array([1.0, 2.0, 4.0, 8.0])) == Spread(3.0, 1.75, 5.0, 1.0, 8.0)


def test_settings_are_read_as_written_and_seeds_come_in_turn(tmp_path):
    settings = ComparisonSettings(RunSpec(seed=5, evaluations=30), ("nsga2", "random"), 2, truth=True)
    settings.write(tmp_path)
    assert ComparisonSettings.read(tmp_path) == settings
    assert [(e.sampler, e.seed, e.evaluations) for e in settings.entries()] == [
        ("nsga2", 5, 30), ("random", 5, 30), ("nsga2", 6, 30), ("random", 6, 30)
    ]  # fmt: skip
    path = tmp_path / "comparison.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 9', 1))
    with pytest.raises(UserError, match="written by another version"):
        ComparisonSettings.read(tmp_path)
    path.write_text("{")
    with pytest.raises(BitfrontError, match="cannot be read"):
        ComparisonSettings.read(tmp_path)


def test_lists_of_samplers():
    assert parse_samplers("nsga2, random,nsga2") == ("nsga2", "random")
    for text in ("", "nsga2,,random", "tpe"):
        with pytest.raises(UserError, match="unknown sampler"):
            parse_samplers(text)


class TestSharingPool(PoolContract):
    @pytest.fixture
    def pool(self, score, tmp_path):
        return SharingPool(InlinePool(score), SharedEvaluations(tmp_path / EVALUATIONS))
