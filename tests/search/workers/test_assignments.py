"""Assignments and their clock: who gets what, what a lost worker costs whom, and when one has hung."""

import pytest

from bitfront.search.workers.assignments import (
    Assignments,
    Attempt,
    FailedAttempt,
    Submission,
    WorkerSlot,
    failure_of,
)
from bitfront.search.workers.local_cluster import WorkerSettings, parse_memory
from bitfront.search.workers.timeouts import EvaluationClock, Outage
from bitfront.spaces import BitfrontError, UserError


def assignments(workers, candidates):
    made = Assignments()
    for address in workers:
        made.add_worker(address, True)
    for key in range(candidates):
        made.add(Submission(key, "{}", None))
    return made


def handed(made, depth):
    return [(address, attempt.submission.key) for address, attempt in made.assign(depth, 0.0)]


def answer(made, address, key, now=0.0):
    slot = made.slots[address]
    (attempt,) = [attempt for attempt in slot.held if attempt.submission.key == key]
    made.settle(slot, attempt, now)


def test_workers_are_filled_evenly_in_the_order_of_asking():
    made = assignments("ab", 5)
    assert handed(made, 1) == [("a", 0), ("b", 1)]
    assert handed(made, 2) == [("a", 2), ("b", 3)]
    answer(made, "a", 0)
    assert handed(made, 2) == [("a", 4)]


def test_only_what_a_lost_worker_was_at_has_failed_and_all_of_it_waits_first():
    made = assignments("ab", 5)
    handed(made, 2)
    made.slots["a"].held[1].phase, made.slots["a"].held[1].since = "evaluating", 2.0
    slot = made.remove_worker("a", FailedAttempt.died())
    assert [attempt.submission.key for attempt in slot.held] == [0, 2]
    assert [len(attempt.submission.failures) for attempt in slot.held] == [0, 1]
    made.add_worker("c", True)
    assert handed(made, 1) == [("c", 0)]


def test_a_worker_that_announced_nothing_was_at_what_it_was_sent_first():
    made = assignments("a", 2)
    handed(made, 2)
    slot = made.remove_worker("a", FailedAttempt.died())
    assert [len(attempt.submission.failures) for attempt in slot.held] == [1, 0]


def test_a_candidate_that_failed_is_tried_again_alone():
    made = assignments("ab", 4)
    handed(made, 2)
    made.remove_worker("a", FailedAttempt.died())
    assert handed(made, 2) == [], "the other worker holds two: it may not be the one that is lost with it"
    answer(made, "b", 1)
    answer(made, "b", 3)
    assert handed(made, 2) == [("b", 0)]
    made.add_worker("c", True)
    assert handed(made, 2) == [("c", 2)]
    made.remove_worker("b", FailedAttempt.died())
    assert [submission.key for submission in made.given_up()] == [0]
    assert made.given_up() == []


def test_nothing_has_failed_at_a_worker_that_leaves_in_good_order():
    made = assignments("a", 2)
    handed(made, 2)
    assert [attempt.submission.failures for attempt in made.remove_worker("a", None).held] == [[], []]


def test_paused_and_closed_workers_get_nothing():
    made = assignments("ab", 2)
    made.slots["a"].paused = made.slots["b"].closed = True
    assert handed(made, 2) == []


def test_failures_tell_both_attempts():
    died, hung = FailedAttempt.died(), FailedAttempt.hung("it took too long")
    assert failure_of([died, died]).message == (
        "its worker died, twice; the machine may be short of memory: use fewer --workers"
    )
    assert failure_of([died, hung]).message == (
        "its worker died; tried again, it took too long; allow more with --evaluation-timeout"
    )
    assert (
        "took more than 1.5 GB of memory, twice; give"
        in failure_of([FailedAttempt.too_large(1_500_000_000)] * 2).message
    )


def attempt(phase, since=0.0):
    return Attempt(1, Submission(1, "{}", None), phase, since)


def test_the_limit_follows_the_longest_evaluation():
    clock = EvaluationClock(WorkerSettings())
    assert clock.evaluation_limit_s == 300.0
    assert not clock.quick
    clock.note(attempt("preparing"), 900.0)
    assert not clock.quick, "preparing is no measure of evaluating"
    clock.note(attempt("evaluating", 10.0), 12.0)
    assert clock.quick
    clock.note(attempt("evaluating", 10.0), 70.0)
    assert clock.evaluation_limit_s == 1200.0
    assert not clock.quick
    assert EvaluationClock(WorkerSettings(evaluation_timeout_s=7.0)).evaluation_limit_s == 7.0


@pytest.mark.parametrize(
    ("phase", "prepared", "after", "told"),
    [
        ("evaluating", False, 9.0, None),
        ("evaluating", True, 11.0, "evaluating it took more than 10 s"),
        ("sent", True, 11.0, "evaluating it took more than 10 s"),
        ("preparing", False, 11.0, None),
        ("sent", False, 3601.0, "preparing the model for it took more than 60 min"),
    ],
)
def test_a_worker_has_hung_by_the_phase_that_it_is_in(phase, prepared, after, told):
    clock = EvaluationClock(WorkerSettings(evaluation_timeout_s=10.0))
    assert clock.overdue(WorkerSlot("a", True, [attempt(phase)], prepared), after) == told
    assert clock.overdue(WorkerSlot("a", True), after) is None


def test_a_worker_is_at_the_next_one_from_the_answer_on():
    made = assignments("a", 2)
    handed(made, 2)
    answer(made, "a", 0, now=40.0)
    assert made.slots["a"].running.since == 40.0
    assert made.slots["a"].prepared


def test_an_outage_is_told_once_and_ends_waiting_at_last(caplog):
    outage = Outage("the scheduler does not answer", "it answers again", grace_s=2.0, patience_s=60.0)
    for now in (0.0, 1.0):
        outage.note(False, now)
    assert caplog.messages == []
    for now in (2.0, 3.0):
        outage.note(False, now)
    outage.note(True, 4.0)
    outage.note(False, 100.0)
    assert caplog.messages == ["the scheduler does not answer; waiting up to 1 min", "it answers again"]
    with pytest.raises(BitfrontError, match="the scheduler does not answer, for 1 min now"):
        outage.note(False, 161.0)


@pytest.mark.parametrize(
    ("text", "size"), [("4GB", 4 * 10**9), ("1.5 gib", 3 * 2**29), ("500MiB", 500 * 2**20)]
)
def test_memory_sizes(text, size):
    assert parse_memory(text) == size


@pytest.mark.parametrize(("text", "told"), [("4", "is not a size: write 4GB"), ("5MB", "is too little")])
def test_wrong_memory_sizes_are_refused(text, told):
    with pytest.raises(UserError, match=told):
        parse_memory(text)
