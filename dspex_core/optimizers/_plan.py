import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, ConfigDict

from dspex_core.budget import Limits
from dspex_core.errors import DSPExError
from dspex_core.optimizers._prompt_sizes import PromptSizes
from dspex_core.optimizers._rehearsal import Rehearsal, Scenario, Spent, rehearsing
from dspex_core.optimizers._result import P
from dspex_core.optimizers._search import Search
from dspex_core.seam import ConfiguredLM, LMConfig, Program, Runtime

N = TypeVar("N", int, float)
_Spent = Mapping[LMConfig | None, Spent]

_BEST, _LIKELY, _WORST, _VARIED = (
    Scenario(solved=1.0, loops="fewest", repeats=0.7),
    Scenario(solved=0.25, loops="some", repeats=0.2, apart=0.015, alike=0.95),
    Scenario(solved=0.0, loops="most", repeats=0.0),
    Scenario(solved=0.5, loops="most", repeats=0.0, level=True),
)
_OUTCOMES = {
    _BEST: "if every row comes out right",
    _LIKELY: "if a quarter of the rows come out right",
    _WORST: "if no row comes out right",
    _VARIED: "if each sample has other rows right",
}
_LIKELY_PLACE = list(_OUTCOMES).index(_LIKELY)
_DRAWS = 5
"""Times that what is likely is rehearsed, since where candidates race much depends on which rows come out right."""
_SECOND = 2


class Range(BaseModel, Generic[N]):
    """What something will come to.

        plan = await LabeledFewShot(metric="exact_match").plan(program, trainset=trainset, valset=valset)
        print(f"{plan.lm_calls.low} to {plan.lm_calls.high} calls, about {plan.lm_calls.expected}")

    Attributes:
        low: At least, if nothing goes wrong but what the search is for.
        expected: If a quarter of the rows come out right, as they may with a program that is worth a compile.
        high: At most.
    """

    model_config = ConfigDict(frozen=True)

    low: N
    expected: N
    high: N


class Reach(BaseModel):
    """What a run takes until a search can learn from what it tried.

        plan = await MIPROv2(metric="exact_match").plan(program, trainset=trainset, valset=valset)
        print(plan.to_second_proposal.lm_calls.expected)

    Attributes:
        proposals: States tried by then besides the program as given: two, or one where no second one is tried.
        lm_calls: Calls to models.
        tokens: Tokens sent and received.
        cost_usd: US dollars at list price; None if the price of some model is not known.
    """

    model_config = ConfigDict(frozen=True)

    proposals: int
    lm_calls: Range[int]
    tokens: Range[int]
    cost_usd: Range[float] | None


class Plan(BaseModel):
    """What a compile will take, before anything is paid for.

        plan = await BootstrapFewShot(metric="exact_match").plan(program, trainset=trainset, valset=valset, lm=lm)
        print(plan.lm_calls.low, plan.lm_calls.high, plan.cost_usd)

    Attributes:
        optimizer: Name of the optimizer's class.
        lm_calls: Calls to models, none of them known to the cache; asking again after an unreadable answer is left out.
        prompt_tokens: Tokens sent, at about four characters a token.
        completion_tokens: Tokens received: as long as the rows' labels are, and about 50 for a text that has no label.
        cost_usd: US dollars at list price; None if the price of some model is not known.
        metric_calls: Rows that a program is run and scored on.
        evaluations: Times that a state is scored.
        to_second_proposal: What it takes until a second state besides the program as given was tried, or the only one;
            with a smaller budget nothing is learnt. None where none is tried.
        notes: What the numbers rest on.
        warnings: What to think about before money is spent.
    """

    model_config = ConfigDict(frozen=True)

    optimizer: str
    lm_calls: Range[int]
    prompt_tokens: Range[int]
    completion_tokens: Range[int]
    cost_usd: Range[float] | None
    metric_calls: Range[int]
    evaluations: Range[int]
    to_second_proposal: Reach | None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def shortfall(self, budget: Limits) -> str | None:
        """Why a run with this budget buys no search, and which one would; None if it does.

        How long a run takes is not known, so a limit of seconds is never too small. Answers in the cache are free, and
        are left out of account.
        """
        reach = self.to_second_proposal
        if reach is None:
            return None
        wanted = (
            (budget.lm_calls, reach.lm_calls, "{:,} LM calls"),
            (budget.tokens, reach.tokens, "{:,} tokens"),
            (budget.usd, reach.cost_usd, "${:,.4f}"),
        )
        short = [
            (limit, takes, form)
            for limit, takes, form in wanted
            if limit is not None and takes is not None and limit < takes.expected
        ]
        if not short:
            return None
        sure = "" if any(limit < takes.low for limit, takes, _ in short) else "probably "
        tried = "tried a second proposal" if reach.proposals == _SECOND else "scored its one proposal"
        return (
            f"a budget of {budget} is {sure}used up before {self.optimizer} has {tried}, which takes "
            f"{' and '.join(_shown(takes, form) for _, takes, form in short)}, unless answers are in the cache: "
            "a search learns nothing so; allow more, or score on fewer rows"
        )


@runtime_checkable
class PricingLM(Protocol):
    """An LM that knows list prices."""

    def cost_of(self, config: LMConfig, prompt_tokens: int, completion_tokens: int) -> float | None:
        """US dollars for so many tokens of a model; None if its price is not known."""
        ...


async def planned(
    name: str,
    begin: Callable[[Runtime], Search[P]],
    run: Callable[[Search[P]], Any],
    *,
    lm: ConfiguredLM | LMConfig | None,
) -> Plan:
    """Rehearse a compile in which all goes well, in which a quarter does, nothing does, or each time something else.

    Args:
        name: The optimizer's.
        begin: Makes the search that a compile would begin, on a runtime.
        run: The optimizer's algorithm, the scoring of the program as given included.
        lm: The model in force.

    Raises:
        DSPExError: If the run would end early whatever happens; says why.
    """
    sizes, notes = PromptSizes(), list[str]()
    rehearsals: list[Rehearsal] = []
    failures: list[DSPExError] = []
    about: Sequence[str] = ()
    for scenario, outcome in _OUTCOMES.items():
        draws = range(_DRAWS if scenario in (_LIKELY, _VARIED) else 1)
        tried = [await _rehearsed(begin, run, Rehearsal(scenario, sizes, draw=draw)) for draw in draws]
        ranked = sorted(tried, key=lambda one: one[0].calls)
        rehearsal, error, student = ranked[-1 if scenario is _VARIED else len(ranked) // 2]
        if error is not None:
            notes.append(f"{outcome} the run ends early: {error}")
            failures.append(error)
        rehearsals.append(rehearsal)
        about = _about(student)
    if len(failures) == len(rehearsals):
        raise failures[0]
    return _summed_up(name, rehearsals, lm, [*about, *notes])


async def _rehearsed(
    begin: Callable[[Runtime], Search[P]], run: Callable[[Search[P]], Any], rehearsal: Rehearsal
) -> tuple[Rehearsal, DSPExError | None, Program]:
    """The rehearsal once it is over, why it ended early if it did, and the program."""
    with rehearsing(rehearsal) as runtime:
        search = begin(runtime)
        try:
            await run(search)
        except DSPExError as error:
            return rehearsal, error, search.student
    return rehearsal, None, search.student


def _about(student: Program) -> Sequence[str]:
    kind = type(student)
    if kind.__module__.partition(".")[0] == "dspex_core":
        return ()
    counted = "each predictor is taken to be called once a run, or as often as calls_of_parts says"
    return (f"{kind.__name__}.forward is not run: {counted}",)


def _summed_up(
    name: str, rehearsals: Sequence[Rehearsal], lm: ConfiguredLM | LMConfig | None, notes: Sequence[str]
) -> Plan:
    cost_usd = _costs([each.spent for each in rehearsals], lm)
    return Plan(
        optimizer=name,
        lm_calls=_range([each.calls for each in rehearsals]),
        prompt_tokens=_range([_tokens(each.spent, "prompt_tokens") for each in rehearsals]),
        completion_tokens=_range([_tokens(each.spent, "completion_tokens") for each in rehearsals]),
        cost_usd=cost_usd,
        metric_calls=_range([each.metric_calls for each in rehearsals]),
        evaluations=_range([each.evaluations for each in rehearsals]),
        to_second_proposal=_reach(rehearsals, lm),
        notes=tuple(notes),
        warnings=_unpriced(rehearsals, lm) if cost_usd is None else (),
    )


def _reach(rehearsals: Sequence[Rehearsal], lm: ConfiguredLM | LMConfig | None) -> Reach | None:
    proposals = min(_SECOND, max(len(each.proposals) for each in rehearsals))
    if not proposals:
        return None
    there = [len(each.proposals) >= proposals for each in rehearsals]
    reached = [each.proposals[proposals - 1] for each in rehearsals if len(each.proposals) >= proposals]
    likely = min(sum(there[:_LIKELY_PLACE]), len(reached) - 1)
    tokens = [_tokens(spent, "prompt_tokens") + _tokens(spent, "completion_tokens") for spent in reached]
    return Reach(
        proposals=proposals,
        lm_calls=_range([sum(each.calls for each in spent.values()) for spent in reached], likely),
        tokens=_range(tokens, likely),
        cost_usd=_costs(reached, lm, likely),
    )


def _shown(numbers: Range[int] | Range[float], form: str) -> str:
    if numbers.low == numbers.high:
        return form.format(numbers.expected)
    return f"about {form.format(numbers.expected)} (from {numbers.low:,} to {numbers.high:,})"


def _range(values: Sequence[N], likely: int = _LIKELY_PLACE) -> Range[N]:
    return Range(low=min(values), expected=values[likely], high=max(values))


def _tokens(spent: _Spent, which: str) -> int:
    return math.ceil(sum(getattr(each, which) for each in spent.values()))


def _costs(
    spent: Sequence[_Spent], lm: ConfiguredLM | LMConfig | None, likely: int = _LIKELY_PLACE
) -> Range[float] | None:
    known = [cost for cost in (_cost(each, lm) for each in spent) if cost is not None]
    return _range(known, likely) if len(known) == len(spent) else None


def _cost(spent_by_model: _Spent, lm: ConfiguredLM | LMConfig | None) -> float | None:
    total = 0.0
    for config, spent in spent_by_model.items():
        cost = _price(config, lm, math.ceil(spent.prompt_tokens), math.ceil(spent.completion_tokens))
        if cost is None:
            return None
        total += cost
    return total


def _price(
    config: LMConfig | None, lm: ConfiguredLM | LMConfig | None, prompt_tokens: int, completion_tokens: int
) -> float | None:
    config = config or _config_of(lm)
    if config is None:
        return None
    if config.price_per_million is not None:
        sent, received = config.price_per_million
        return (sent * prompt_tokens + received * completion_tokens) / 1_000_000
    return lm.cost_of(config, prompt_tokens, completion_tokens) if isinstance(lm, PricingLM) else None


def _config_of(lm: ConfiguredLM | LMConfig | None) -> LMConfig | None:
    return lm if lm is None or isinstance(lm, LMConfig) else lm.config


def _unpriced(rehearsals: Sequence[Rehearsal], lm: ConfiguredLM | LMConfig | None) -> tuple[str, ...]:
    configs = dict.fromkeys(config for each in rehearsals for config in each.spent)
    unknown = [config or _config_of(lm) for config in configs if _price(config, lm, 1, 1) is None]
    named = sorted({"the model in force" if config is None else config.model for config in unknown})
    return (f"the price of {', '.join(named)} is not known, so no cost can be told; price_per_million sets one",)
