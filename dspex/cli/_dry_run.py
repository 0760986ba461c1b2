from dspex.cli._inputs import Task
from dspex.cli._shell import say, tell, tell_json
from dspex.client import require_prices
from dspex_core.budget import Budget
from dspex_core.lm import LM
from dspex_core.optimizers import Optimizer, Range


async def tell_plan(
    task: Task,
    optimizer: Optimizer,
    *,
    lm: LM,
    teacher_lm: LM | None,
    folds: int | None,
    budget: Budget | None,
    as_json: bool,
) -> None:
    """Tell what a compile will take; nothing is started, and nothing is asked of anybody.

    Raises:
        ConfigurationError: If the compile would be refused, for instance for a budget that cannot be kept.
    """
    require_prices(budget, program=task.program, optimizer=optimizer, lm=lm, teacher_lm=teacher_lm)
    plan = await optimizer.plan(
        task.program,
        trainset=task.trainset,
        valset=task.valset,
        lm=lm,
        teacher_lm=teacher_lm,
        folds=folds,
        budget=budget,
    )
    for warning in plan.warnings:
        say(f"warning: {warning}")
    if as_json:
        tell_json(plan.model_dump(mode="json"))
        return
    scored = f"scored in {folds} folds" if task.valset is None else f"{len(task.valset):,} to score on"
    tell(f"plan      {plan.optimizer}, {len(task.trainset):,} rows to learn from, {scored}")
    tell(f"LM calls  {_told(plan.lm_calls)}")
    tell(f"sent      {_told(plan.prompt_tokens)} tokens")
    tell(f"received  {_told(plan.completion_tokens)} tokens")
    tell(f"cost      {'unknown' if plan.cost_usd is None else _dollars(plan.cost_usd)}")
    tell(f"scored    {_told(plan.metric_calls)} rows, {_told(plan.evaluations)} evaluations")
    reach = plan.to_second_proposal
    if reach is not None:
        which = "second    proposal" if reach.proposals > 1 else "only      proposal"
        tell(f"{which} tried after {_told(reach.lm_calls)} calls")
    for note in plan.notes:
        tell(f"note      {note}")


def _told(numbers: Range[int]) -> str:
    if numbers.low == numbers.high:
        return f"{numbers.expected:,}"
    return f"about {numbers.expected:,} (from {numbers.low:,} to {numbers.high:,})"


def _dollars(cost: Range[float]) -> str:
    if cost.low == cost.high:
        return f"${cost.expected:.4f}"
    return f"about ${cost.expected:.4f} (from ${cost.low:.4f} to ${cost.high:.4f})"
