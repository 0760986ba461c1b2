from dspex.cli._compile import run_document
from dspex.cli._shell import tell, tell_json
from dspex.cli._worker import server_in_use
from dspex.client import Client, Run
from dspex_core.errors import ConfigurationError


async def pause_run(run_id: str, *, as_json: bool) -> None:
    """Let a run begin nothing new."""
    run = await _run(run_id)
    await run.pause()
    await _tell(run, f"go on with: dspex runs resume {run_id}", as_json=as_json)


async def resume_run(run_id: str, *, as_json: bool) -> None:
    """Let a run go on."""
    run = await _run(run_id)
    await run.resume()
    await _tell(run, f"watch it with: dspex runs watch {run_id}", as_json=as_json)


async def raise_budget_of(run_id: str, *, usd: float | None, calls: int | None, as_json: bool) -> None:
    """Let a run take more.

    Raises:
        ConfigurationError: If nothing is given.
    """
    if usd is None and calls is None:
        raise ConfigurationError("raise-budget: give --usd or --calls")
    run = await _run(run_id)
    await run.raise_budget(usd=usd, lm_calls=calls)
    await _tell(run, f"watch it with: dspex runs watch {run_id}", as_json=as_json)


async def decide_call(run_id: str, call_id: str, *, approved: bool, reason: str, as_json: bool) -> None:
    """Approve or reject a call of a tool that waits for a person."""
    run = await _run(run_id)
    await (run.approve if approved else run.reject)(call_id, reason=reason)
    await _tell(run, f"{call_id} is {'approved' if approved else 'rejected'}", as_json=as_json)


async def cancel_run(run_id: str, *, hard: bool, as_json: bool) -> None:
    """End a run, with the best it has found so far, or at once."""
    run = await _run(run_id)
    await run.cancel(hard=hard)
    async for _ in run.events():
        pass  # to its end, which is near
    await _tell(run, "", as_json=as_json)


async def _run(run_id: str) -> Run:
    client = await Client.connect(await server_in_use())
    return client.get_run(run_id)


async def _tell(run: Run, hint: str, *, as_json: bool) -> None:
    status = await run.status()
    if as_json:
        tell_json(run_document(status))
        return
    score = "" if status.score is None else f", best score {status.score:.2f} %"
    tell(f"{run.id} is {status.status}{score}{f'; {hint}' if hint else ''}")
