import random

from dspex_core.optimizers._bootstrap_few_shot import BootstrapFewShot
from dspex_core.optimizers._labeled_few_shot import labeled_state
from dspex_core.optimizers._result import P, Proposal
from dspex_core.optimizers._search import Search

NO_DEMOS = -3
LABELED = -2
IN_ORDER = -1
SEEDS_APART = 1_000
"""How far apart the drawings of two seeds begin, so that they share no set."""


async def demo_set(search: Search[P], bootstrap: BootstrapFewShot, number: int) -> Proposal:
    """The student with one of many sets of demos; the same number and seed give the same set.

    Args:
        search: The compile under way.
        bootstrap: Its options and its seed make the sets.
        number: -3 is no demos, -2 labeled rows alone, -1 a bootstrap on the rows in their order; from 0 on the rows are
            shuffled, and a random number of them, up to the most there may be, is bootstrapped. Without labeled rows,
            -2 is a shuffled set too.

    Source: the numbering, and what each set is, are those of DSPy's random search and MIPROv2.
    """
    if number == NO_DEMOS:
        state = search.student.get_state()
        return Proposal(state.with_demos(dict.fromkeys(state.predictors, ())), "no demos", parent=0)
    if number == LABELED and bootstrap.max_labeled_demos:
        state = await labeled_state(search, bootstrap.max_labeled_demos, seed=bootstrap.seed)
        return Proposal(state, "labeled demos", parent=0)
    rows = list(range(len(search.trainset)))
    if number == IN_ORDER:
        return Proposal(await bootstrap.bootstrapped(search, rows), "bootstrapped demos", parent=0)
    drawing = bootstrap.seed * SEEDS_APART + number % SEEDS_APART
    random.Random(drawing).shuffle(rows)  # noqa: S311 - repeatable by design
    most = bootstrap.max_bootstrapped_demos
    size = random.Random(drawing).randint(1, most) if most else 0  # noqa: S311 - as above
    shuffled = bootstrap.model_copy(update={"max_bootstrapped_demos": size})
    state = await shuffled.bootstrapped(search, rows)
    return Proposal(state, f"shuffled rows {drawing}, {size} bootstrapped", parent=0)
