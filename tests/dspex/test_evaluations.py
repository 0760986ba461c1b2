"""What became of each row of a run's candidates, read from the server and the artifact store."""

import pytest

from dspex_core import LM
from dspex_core.errors import RunConflictError
from dspex_core.optimizers import LabeledFewShot
from dspex_core.testing import FakeProviderProcess, conformance_program, conformance_rows

pytestmark = pytest.mark.slow

TRAIN, VAL = conformance_rows(24), conformance_rows(48, start=24)


async def test_rows_of_an_evaluation_that_a_pause_cut_short_are_all_there(client):
    with FakeProviderProcess(latency_ms=200) as slow:
        run = await client.compile(
            conformance_program(),
            optimizer=LabeledFewShot(metric="exact_match", k=4),
            trainset=TRAIN,
            valset=VAL,
            lm=LM("openai/fake", api_base=slow.base_url, concurrency=4),
            id="cut-short",
            chunk_rows=1,
        )
        async for event in run.events():
            if event.type == "rows_evaluated":
                await run.pause()
                break
        await run.resume()
        result = await run.result()
    evaluations = client.evaluations("cut-short")
    for candidate, scores in zip(result.candidates, (result.baseline_scores, result.best_scores), strict=True):
        scored = await evaluations.scored_rows(candidate.state)
        assert [row.row for row in scored.results] == list(range(len(VAL)))
        assert [row.score for row in scored.results] == list(scores)
    examples = await evaluations.examples(scored.evaluation.dataset, [3])
    assert examples[0].to_dict() == VAL[3].to_dict()


async def test_a_state_that_was_never_scored_has_no_rows(client):
    state = conformance_program().get_state()
    assert await client.evaluations("no-such-run").scored_rows(state) is None


async def test_the_command_line_follows_an_evaluation_to_its_end_and_says_that_it_has_no_program(client, platform):
    await client.evaluate(conformance_program(), VAL, metric="exact_match", lm=platform.lm(), id="no-compile")
    watched = platform.cli("runs", "watch", "no-compile")
    assert (watched.returncode, "took" in watched.stdout) == (0, True), watched.stderr
    exported = platform.cli("runs", "export", "no-compile", "-o", "p.json")
    assert exported.returncode != 0
    assert "no-compile is no compile" in exported.stderr
    assert "Traceback" not in exported.stderr
    with pytest.raises(RunConflictError, match="no-compile is no compile"):
        await client.get_run("no-compile").result()
