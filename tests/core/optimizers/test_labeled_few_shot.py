import random

import pytest
from model_servers import lm_of

from dspex_core import Example, Predict, using
from dspex_core.errors import ConfigurationError, UnknownNameError
from dspex_core.optimizers import LabeledFewShot, optimizer_named
from dspex_core.runtime import InProcessRuntime

ROWS = [Example(text=f"text {number}", team=f"team {number}", note=number).with_inputs("text") for number in range(40)]


async def demos_of(**options):
    with using(runtime=InProcessRuntime()):
        result = await LabeledFewShot(**options).compile(Predict("text -> team"), trainset=ROWS)
    return [demo["note"] for demo in result.program.get_state().predictors["self"].demos]


async def test_sixteen_rows_are_drawn_as_dspy_draws_them():
    assert await demos_of() == random.Random(0).sample(range(40), 16)


async def test_the_first_rows_are_taken_if_none_are_to_be_drawn():
    assert await demos_of(k=3, sample=False) == [0, 1, 2]


async def test_no_more_rows_are_shown_than_there_are():
    assert sorted(await demos_of(k=100)) == list(range(40))


async def test_the_same_seed_draws_the_same_rows_and_another_seed_others():
    assert await demos_of(seed=1) == await demos_of(seed=1)
    assert await demos_of(seed=0) != await demos_of(seed=1)


async def test_nothing_is_run_without_a_validation_set(provider):
    with using(lm=lm_of(provider)):
        result = await LabeledFewShot().compile(Predict("text -> team"), trainset=ROWS)
    assert provider.stats().requests == 0
    assert (result.score, result.baseline_score, result.candidates) == (None, None, ())


@pytest.mark.slow
async def test_with_a_validation_set_the_better_of_before_and_after_wins(provider):
    with using(lm=lm_of(provider)):
        result = await LabeledFewShot(k=40, metric="exact_match").compile(
            Predict("text -> team"), trainset=ROWS, valset=ROWS
        )
    assert result.baseline_score < result.score
    assert [candidate.label for candidate in result.candidates] == ["baseline", "labeled demos"]
    assert result.program.get_state() == result.candidates[1].state
    assert result.usage.lm_calls == provider.stats().requests == 80


@pytest.mark.parametrize("options", [{"k": 0}, {"k": "many"}, {"seed": 1.5}])
def test_options_that_do_not_fit_are_named(options):
    with pytest.raises(ConfigurationError, match=f"option '{next(iter(options))}'"):
        optimizer_named("labeled_few_shot").from_options(options)


def test_an_unknown_option_is_named_with_those_there_are():
    with pytest.raises(UnknownNameError, match=r"'samples': did you mean 'sample'\? there are k, metric, sample, seed"):
        optimizer_named("labeled_few_shot").from_options({"samples": False})


def test_an_unknown_optimizer_is_named_with_those_there_are():
    with pytest.raises(UnknownNameError, match="did you mean 'labeled_few_shot'"):
        optimizer_named("label_few_shot")
