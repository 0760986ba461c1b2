from datetime import timedelta

import pytest

from dspex_core.errors import ConfigurationError, DatasetError, RunConflictError, RunNotFoundError, UnknownNameError
from dspex_core.optimizers import LabeledFewShot
from dspex_core.testing import conformance_program, conformance_rows

pytestmark = pytest.mark.slow

TRAIN, VAL = conformance_rows(24), conformance_rows(16, start=24)


def nightly(client, platform, **options):
    given = {"trainset": TRAIN, "valset": VAL, "lm": platform.lm(), "cron": "0 2 * * *"} | options
    return client.schedule(conformance_program(), optimizer=LabeledFewShot(metric="exact_match", k=4), **given)


async def started_by(handle):
    """Ids of the runs that a schedule started."""
    actions = (await handle.describe()).info.recent_actions
    return [action.action.workflow_id for action in actions]


async def test_each_firing_is_a_run_of_its_own_that_can_be_found(platform, client):
    schedule = await nightly(client, platform, id="nightly", priority=4, tenant="nights")
    try:
        for count in (1, 2):
            await schedule.trigger()
            while len(ids := await started_by(schedule)) < count:
                pass
            result = await client.get_run(ids[-1]).result()
            assert result.score > result.baseline_score
        assert len(set(ids)) == 2
        assert all(run_id.startswith("nightly-") for run_id in ids)
        assert set(ids) <= {summary.id for summary in await client.list_runs()}
        described = await client._connection.temporal.get_workflow_handle(ids[0]).describe()
        assert await described.static_summary() == "24 rows to learn from, 16 to score on, openai/fake"
    finally:
        await schedule.delete()


async def test_a_schedule_is_listed_paused_and_deleted(platform, client):
    async def listed():
        return {found.id: found for found in await client.list_schedules()}

    await nightly(client, platform, id="hourly", cron=None, every=timedelta(hours=1))
    schedule = client.get_schedule("hourly")
    try:
        while "hourly" not in (found := await listed()):
            pass
        assert found["hourly"].optimizer == "labeled_few_shot"
        assert found["hourly"].next is not None
        await schedule.pause(note="not now")
        while not (await listed())["hourly"].paused:
            pass
    finally:
        await schedule.delete()
    while "hourly" in await listed():
        pass


async def test_an_id_that_is_taken_is_refused_and_the_schedule_stays(platform, client):
    schedule = await nightly(client, platform, id="taken")
    try:
        with pytest.raises(RunConflictError, match="there is a schedule 'taken'"):
            await nightly(client, platform, id="taken", cron="0 3 * * *")
    finally:
        await schedule.delete()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cron": None}, "say when"),
        ({"every": timedelta(hours=1)}, "say when"),
        ({"cron": None, "every": timedelta(seconds=5)}, "once a minute at most"),
        ({"cron": "every night"}, "does not take the schedule 'bad'"),
        ({"id": ""}, "needs a name"),
        ({"priority": 9}, "a priority is 1"),
    ],
)
async def test_a_schedule_that_cannot_be_is_refused(platform, client, given, said):
    with pytest.raises(ConfigurationError, match=said):
        await nightly(client, platform, **{"id": "bad", **given})


async def test_a_run_of_a_schedule_is_never_resumed_and_an_unknown_option_is_named(platform, client):
    with pytest.raises(UnknownNameError, match="unknown option of a compile 'resume'"):
        await nightly(client, platform, id="resuming", resume=True)


async def test_a_schedule_that_is_not_there_is_said_to_be_unknown(client):
    schedule = client.get_schedule("no-such-schedule")
    for ask in (schedule.trigger, schedule.pause, schedule.unpause, schedule.describe, schedule.delete):
        with pytest.raises(RunNotFoundError, match="there is no schedule 'no-such-schedule'"):
            await ask()


async def test_data_is_checked_when_the_schedule_is_made_and_not_at_night(platform, client):
    with pytest.raises(DatasetError):
        await nightly(client, platform, id="empty", trainset=[])
