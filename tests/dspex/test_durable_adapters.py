import pytest

from dspex_core import ChatAdapter, JSONAdapter, Predict, XMLAdapter, using
from dspex_core.optimizers import BootstrapFewShot
from dspex_core.testing import conformance_program, conformance_rows

pytestmark = pytest.mark.slow

TRAIN, VAL = conformance_rows(24), conformance_rows(16, start=24)
OPTIMIZER = BootstrapFewShot(metric="exact_match", max_bootstrapped_demos=2)


@pytest.mark.parametrize("adapter", [XMLAdapter(), JSONAdapter(fallback=[ChatAdapter()])])
async def test_a_durable_compile_asks_with_the_adapter_in_force_and_finds_what_the_same_in_process_does(
    platform, client, adapter
):
    with using(lm=platform.lm(), adapter=adapter):
        here = await OPTIMIZER.compile(conformance_program(), trainset=TRAIN, valset=VAL)
        run = await client.compile(
            conformance_program(), optimizer=OPTIMIZER, trainset=TRAIN, valset=VAL, lm=platform.lm()
        )
    durable = await run.result()
    assert durable.program.get_state() == here.program.get_state()
    assert durable.score == here.score
    assert {state.adapter for state in durable.program.get_state().predictors.values()} == {adapter.config}


async def test_a_durable_program_run_asks_with_the_programs_own_adapter(platform, client):
    program = Predict("text -> team: Literal['billing', 'bug']")
    program.set_adapter(XMLAdapter())
    before = platform.provider.stats().requests
    prediction = await client.run_program(program, inputs={"text": "charged twice, XML please"}, lm=platform.lm())
    assert prediction.team in ("billing", "bug")
    # Asked in the chat adapter's way, the model would have had to be corrected.
    assert platform.provider.stats().requests == before + 1
