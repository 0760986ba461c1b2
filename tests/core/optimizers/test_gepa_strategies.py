"""The decisions of GEPA, each alone."""

import random
from collections import Counter

import pytest

from dspex_core.optimizers import Candidate
from dspex_core.optimizers.gepa import (
    AllComponents,
    Budget,
    CurrentBestSelector,
    EpochShuffled,
    NoLoss,
    NoMerge,
    ParetoSelector,
    Pool,
    RoundRobin,
    StrictImprovement,
    SystemAwareMerge,
    auto_metric_calls,
    pareto_fronts,
)
from dspex_core.seam import PredictorState, ProgramState


def state(**instructions):
    return ProgramState(predictors={name: PredictorState(instructions=text) for name, text in instructions.items()})


def pool_of(*members):
    """A pool of (scores, parents, instructions)."""
    pool = Pool()
    for scores, parents, instructions in members:
        candidate = Candidate(
            index=len(pool.members), label="x", state=state(**instructions), score=100 * sum(scores) / len(scores)
        )
        pool.add(candidate, scores, parents)
    return pool


def scored(*scores):
    return pool_of(*[(row, (), {"self": str(number)}) for number, row in enumerate(scores)])


def test_the_front_holds_for_each_row_those_that_do_best_on_it():
    assert pareto_fronts(scored((1, 0, 0.5), (0, 1, 0.5), (0, 0, 0))) == [(0,), (1,), (0, 1)]


def test_who_is_best_only_where_others_are_too_is_dominated():
    # 0 leads the first row with 1, which leads the second one alone.
    assert pareto_fronts(scored((1, 0), (1, 1))) == [(1,), (1,)]


def test_of_equals_the_later_one_stays_and_the_front_is_never_empty():
    assert pareto_fronts(scored((1, 1), (1, 1), (1, 1))) == [(2,), (2,)]
    assert pareto_fronts(scored((0, 0))) == [(0,), (0,)]


def test_who_is_covered_by_two_others_together_is_dominated():
    pool = scored((1, 1, 0, 0), (1, 0, 1, 0), (0, 1, 0, 1))
    assert pareto_fronts(pool) == [(1,), (2,), (1,), (2,)]


def test_no_row_loses_its_last_best_whatever_the_scores():
    rng = random.Random(3)
    for _ in range(200):
        pool = scored(*[[rng.choice([0, 0.5, 1]) for _ in range(6)] for _ in range(rng.randint(1, 8))])
        for row, front in enumerate(pareto_fronts(pool)):
            best = max(member.scores[row] for member in pool.members)
            assert front
            assert all(pool.members[number].scores[row] == best for number in front)


def test_a_member_is_drawn_the_more_often_the_more_rows_it_leads():
    pool = scored((1, 1, 1, 0), (0, 0, 0, 1), (0, 0, 0, 0))
    selector = ParetoSelector(random.Random(0))
    drawn = Counter(selector.select(pool).number for _ in range(1000))
    assert 700 < drawn[0] < 800
    assert drawn[0] + drawn[1] == 1000


def test_the_current_best_is_the_first_of_the_highest_total():
    assert CurrentBestSelector().select(scored((0, 0.5), (1, 0), (0.5, 0.5))).number == 1


def test_predictors_take_turns_and_a_child_goes_on_where_its_parent_is():
    pool = pool_of(((1,), (), {"a": "", "b": "", "c": ""}), ((1,), (0,), {"a": "x", "b": "", "c": ""}))
    parent, child = pool.members
    turns = RoundRobin()
    names = ["a", "b", "c"]
    assert [turns.select(parent, names) for _ in range(4)] == [("a",), ("b",), ("c",), ("a",)]
    assert [turns.select(child, names) for _ in range(2)] == [("b",), ("c",)]
    assert AllComponents().select(parent, names) == ("a", "b", "c")


def test_an_epoch_shows_every_row_and_the_next_one_in_another_order():
    sampler = EpochShuffled(random.Random(1), rows=12, size=3)
    epochs = [[row for _ in range(4) for row in sampler.sample()] for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(12))
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize(("rows", "size"), [(10, 3), (4, 3), (3, 3), (5, 4)])
def test_a_minibatch_is_always_full_and_shows_a_row_once(rows, size):
    sampler = EpochShuffled(random.Random(1), rows=rows, size=size)
    epoch = [sampler.sample() for _ in range(-(-rows // size))]
    assert all(len(set(batch)) == size for batch in epoch)
    assert {row for batch in epoch for row in batch} == set(range(rows))


def test_only_a_strictly_higher_sum_is_accepted():
    assert StrictImprovement().accepts((0, 1, 0), (1, 0.5, 0))
    assert not StrictImprovement().accepts((0, 1, 0), (1, 0, 0))
    assert not StrictImprovement().accepts((0.1, 0.2, 0.3), (0.3, 0.2, 0.1))
    assert NoLoss().accepts((0, 1, 0), (1, 0, 0))


TWO_LINEAGES = (
    ((0, 0, 0, 0), (), {"a": "old", "b": "old"}),
    ((1, 1, 0, 0), (0,), {"a": "new", "b": "old"}),
    ((0, 0, 1, 1), (0,), {"a": "old", "b": "new"}),
)


def merger(pool_members, *, most=5, seed=0):
    pool = pool_of(*pool_members)
    found = SystemAwareMerge(random.Random(seed), most=most)
    found.note_accepted()
    return found, pool


def test_what_two_lineages_improved_is_put_together():
    found, pool = merger(TWO_LINEAGES)
    merge = found.propose(pool)
    assert merge.state == state(a="new", b="new")
    assert {merge.first.number, merge.second.number} == {1, 2}
    assert merge.rows == (0, 1, 2, 3)


def test_where_both_changed_a_predictor_the_better_member_s_is_taken():
    members = [
        ((0, 0, 0, 0), (), {"a": "old", "b": "old"}),
        ((1, 1, 1, 0), (0,), {"a": "one", "b": "old"}),
        ((0, 0, 1, 1), (0,), {"a": "other", "b": "new"}),
    ]
    found, pool = merger(members)
    assert found.propose(pool).state == state(a="one", b="new")


def test_a_merge_is_due_only_right_after_something_was_found_and_tried_once():
    found, pool = merger(TWO_LINEAGES)
    assert found.propose(pool) is not None
    assert found.propose(pool) is None
    found.note_accepted()
    assert found.propose(pool) is None  # there is nothing else to merge


def test_so_many_merges_are_accepted_and_no_more():
    found, pool = merger(TWO_LINEAGES, most=1)
    assert found.propose(pool) is not None
    found.note_merged()
    pool.add(pool.members[0].candidate.model_copy(update={"state": state(a="third", b="old")}), (0, 1, 1, 1), (0,))
    found.note_accepted()
    assert found.propose(pool) is None
    assert merger(TWO_LINEAGES, most=0)[0].propose(pool) is None
    assert NoMerge().propose(pool) is None


def test_a_parent_and_its_child_are_not_merged():
    found, pool = merger(
        [((0, 0), (), {"a": "x", "b": "x"}), ((1, 0), (0,), {"a": "y", "b": "x"}), ((0, 1), (1,), {"a": "y", "b": "y"})]
    )
    assert found.propose(pool) is None


def test_an_ancestor_that_does_better_is_none_to_merge_from():
    found, pool = merger(
        [
            ((1, 1, 0, 0, 0.9), (), {"a": "old", "b": "old"}),
            ((0, 0, 1, 0, 1), (0,), {"a": "new", "b": "old"}),
            ((0, 0, 0, 1, 0), (0,), {"a": "old", "b": "new"}),
        ]
    )
    assert found.propose(pool) is None


def test_with_one_predictor_there_is_nothing_to_merge():
    found, pool = merger([((0, 0), (), {"a": "x"}), ((1, 0), (0,), {"a": "y"}), ((0, 1), (0,), {"a": "z"})])
    assert found.propose(pool) is None


def test_a_merge_is_tried_on_rows_that_tell_its_parents_apart():
    first, second = (1,) * 6 + (0,) * 14, (0,) * 14 + (1,) * 6
    for seed in range(20):
        found, pool = merger(
            [
                ((0,) * 20, (), {"a": "old", "b": "old"}),
                (first, (0,), {"a": "new", "b": "old"}),
                (second, (0,), {"a": "old", "b": "new"}),
            ],
            seed=seed,
        )
        rows = found.propose(pool).rows
        assert len(set(rows)) == 5
        assert sum(row < 6 for row in rows) >= 2
        assert sum(row >= 14 for row in rows) >= 2


@pytest.mark.parametrize(
    ("auto", "predictors", "val_rows", "calls"),
    [("light", 1, 100, 780), ("light", 2, 50, 1030), ("medium", 1, 200, 1690), ("heavy", 3, 300, 5440)],
)
def test_auto_is_dspys_budget(auto, predictors, val_rows, calls):
    assert auto_metric_calls(auto, predictors=predictors, val_rows=val_rows) == calls


def test_no_choice_of_proposals_and_evaluations_overshoots_the_budget():
    rng = random.Random(7)
    for _ in range(500):
        budget = Budget(
            metric_calls=rng.randint(1, 400), minibatch=rng.randint(1, 8), val_rows=rng.randint(1, 60)
        )  # fmt: skip
        if budget.metric_calls < budget.least:
            continue
        spent, tried = budget.val_rows, 0
        while count := budget.affordable(spent, tried=tried, wanted=rng.randint(1, 6)):
            spent, tried = spent + count * budget.proposal, tried + count
            assert budget.full_evaluations(spent) >= 1
            spent += min(rng.randint(0, count), budget.full_evaluations(spent)) * budget.val_rows
            assert spent <= budget.metric_calls
        assert tried >= 2
