"""Whoever can start a workflow, with whatever input, has no worker import code that it does not trust."""

import pytest

import workflows
from dspex_core.artifacts import store_dataset
from dspex_core.errors import RunFailedError
from dspex_core.metrics import metric_reference
from dspex_core.requests import ProgramOutline
from dspex_core.testing import conformance_program, conformance_rows

pytestmark = pytest.mark.slow


async def test_an_option_of_an_optimizer_that_names_code_is_not_imported_in_the_workflow(platform, client):
    rows = await store_dataset(client._connection.store, conformance_rows(12))
    request = workflows.CompileInput(
        optimizer="bootstrap_finetune",
        options={"trainer": "marking_app:anything"},
        program=ProgramOutline.of(conformance_program()),
        metric=metric_reference("exact_match"),
        lm=platform.lm().config,
        trainset=rows,
        valset=rows,
    )
    await client._connection.temporal.start_workflow(
        "BootstrapFinetune", request, id="untrusted-option", task_queue=client.task_queue
    )
    with pytest.raises(RunFailedError, match="trainer 'marking_app:anything' is not imported in a workflow"):
        await client.get_run("untrusted-option").result()
    assert not (platform.home / "imported").exists()
