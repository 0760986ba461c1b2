from typing import ClassVar

import pytest

from dspex_core.errors import ConfigurationError
from dspex_core.optimizers import OPTIMIZERS, BootstrapFewShot, BootstrapFinetune, LabeledFewShot
from dspex_core.runtime import using
from dspex_core.testing import check_optimizer, conformance_program, conformance_rows

pytestmark = pytest.mark.slow

SMALL = {
    "better_together": {"p": LabeledFewShot(k=4), "w": BootstrapFinetune(poll_seconds=0.05)},
    "bootstrap_finetune": {"poll_seconds": 0.05},
    "copro": {"breadth": 3, "depth": 2},
    "infer_rules": {"num_candidates": 2},
    "mipro_v2": {
        "auto": None, "num_candidates": 4, "num_trials": 4, "minibatch_size": 8, "minibatch_full_eval_steps": 2,
        "parallel_trials": 2,
    },
    "gepa": {"max_metric_calls": 150},
    "bootstrap_few_shot_with_random_search": {"num_candidate_programs": 3},
    "simba": {"bsize": 8, "num_candidates": 3, "max_steps": 2},
}  # fmt: skip
"""Options with which a run takes seconds."""


@pytest.mark.parametrize("name", OPTIMIZERS)
async def test_an_optimizer_gives_the_same_on_both_runtimes(name, platform, client):
    # Without its cache: a model asked anew each time would give a difference away.
    lm = platform.lm(cache=False)

    async def durably(optimizer, program, trainset, valset):
        run = await client.compile(program, optimizer=optimizer, trainset=trainset, valset=valset, lm=lm, chunk_rows=3)
        return await run.result()

    optimizer = OPTIMIZERS[name](metric="exact_match", seed=3, **SMALL.get(name, {}))
    trajectory = await check_optimizer(optimizer, lm, elsewhere=durably)
    assert trajectory.score > trajectory.candidates[0][2]


@pytest.mark.parametrize("name", ["gepa", "infer_rules", "labeled_few_shot"])
async def test_a_cross_validated_compile_gives_the_same_on_both_runtimes(name, platform, client):
    optimizer = OPTIMIZERS[name](metric="exact_match", seed=3, **SMALL.get(name, {}))
    rows, lm = conformance_rows(24), platform.lm(cache=False)
    with using(lm=lm):
        here = await optimizer.compile(conformance_program(), trainset=rows, folds=3)
    run = await client.compile(conformance_program(), optimizer=optimizer, trainset=rows, folds=3, lm=lm, chunk_rows=3)
    there = await run.result()
    assert (there.folds, there.candidates, there.best_scores) == (here.folds, here.candidates, here.best_scores)
    assert there.program.get_state() == here.program.get_state()


async def test_a_durable_compile_needs_something_to_score_on(platform, client):
    optimizer, rows = LabeledFewShot(metric="exact_match"), conformance_rows(4)
    for given in ({}, {"valset": rows, "folds": 2}):
        with pytest.raises(ConfigurationError, match="give one of the two"):
            await client.compile(conformance_program(), optimizer=optimizer, trainset=rows, lm=platform.lm(), **given)


async def test_an_optimizer_that_heeds_no_seed_is_found_out(platform):
    class Careless(BootstrapFewShot):
        drawn: ClassVar = []

        async def search(self, search):
            self.drawn.append(len(self.drawn))
            state = search.student.get_state()
            demos = {name: ({"text": "x", "topic": str(self.drawn)},) for name in state.predictors}
            await search.evaluate(state.with_demos(demos), "careless")
            return state

    with pytest.raises(AssertionError, match="one seed gives one result"):
        await check_optimizer(Careless(metric="exact_match"), platform.lm())


async def test_two_seeds_draw_two_sets_of_demos(platform):
    results = [
        await check_optimizer(OPTIMIZERS["labeled_few_shot"](metric="exact_match", k=4, seed=seed), platform.lm())
        for seed in (0, 1)
    ]
    assert results[0].candidates[1][1] != results[1].candidates[1][1]


async def test_a_program_of_two_predictors_of_a_users_own_compiles_alike_on_both(platform, client):
    import shop_app

    trainset, valset = conformance_rows(24), conformance_rows(12, start=24)
    optimizer = BootstrapFewShot(metric=shop_app.lenient, metric_threshold=0.9, max_rounds=2)
    with using(lm=platform.lm(cache=False)):
        here = await optimizer.compile(shop_app.Router(), trainset=trainset, valset=valset)
    run = await client.compile(
        shop_app.Router(), optimizer=optimizer, trainset=trainset, valset=valset, lm=platform.lm()
    )
    there = await run.result()
    assert there.program.get_state() == here.program.get_state()
    assert [candidate.score for candidate in there.candidates] == [candidate.score for candidate in here.candidates]
    assert set(here.program.get_state().predictors) == {"summary", "topic"}
    assert conformance_program().get_state() != here.program.get_state()
