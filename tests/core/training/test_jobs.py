"""Jobs are submitted once, whatever happens to whoever submits them."""

import openai
import pytest
from aiohttp import ClientSession, web

from dspex_core import Predict, using
from dspex_core.errors import (
    ConfigurationError,
    DatasetError,
    FineTuningError,
    LMAuthenticationError,
)
from dspex_core.lm import LM
from dspex_core.seam import FineTuningRequest, LMConfig, Payer, TrainedModel, TrainingStep, paying
from dspex_core.training import cancel_job, follow_job, start_job

PROGRAM = Predict("text -> team: Literal['billing', 'bug']")


def request(count=12, **options):
    steps = [
        TrainingStep(predictor="self", values={"text": f"flarn {n} blorb", "team": "billing"}) for n in range(count)
    ]
    return FineTuningRequest(steps=tuple(steps), **options)


def lm_at(server, **options):
    return LMConfig(model="openai/fake", api_base=server.base_url, **options)


async def jobs_at(server):
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="key", max_retries=0) as client:
        return [job async for job in client.fine_tuning.jobs.list()]


async def files_at(server):
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="key", max_retries=0) as client:
        return [file async for file in client.files.list()]


async def to_its_end(job):
    while not job.ended:
        job = await follow_job(job)
    return job


async def test_a_job_is_followed_from_the_upload_to_its_model(start_provider):
    provider = start_provider(fine_tuning_polls=3)
    job = await start_job(PROGRAM, request(train_kwargs={"n_epochs": 2, "suffix": "mine"}), lm_at(provider))
    assert (job.status, job.examples, job.tuned) == ("queued", 12, None)
    [there] = await jobs_at(provider)
    assert (there.id, there.method.supervised.hyperparameters.n_epochs) == (job.job_id, 2)
    ended = await to_its_end(job)
    [there] = await jobs_at(provider)
    assert ended.tuned == lm_at(provider).model_copy(update={"model": f"openai/{there.fine_tuned_model}"})
    assert ":mine:" in ended.tuned.name
    with using(lm=LM.from_config(ended.tuned)):
        assert (await PROGRAM(text="flarn 99 blorb")).team == "billing"


async def test_the_same_work_asked_for_again_is_the_same_job_also_after_its_end(provider):
    first = await start_job(PROGRAM, request(), lm_at(provider))
    assert (await start_job(PROGRAM, request(), lm_at(provider))).job_id == first.job_id
    ended = await to_its_end(first)
    assert await start_job(PROGRAM, request(), lm_at(provider)) == ended
    assert len(await jobs_at(provider)) == len(await files_at(provider)) == 1


@pytest.mark.parametrize(
    "other", [request(13), request(train_kwargs={"seed": 1}), request(train_kwargs={"n_epochs": 1})], ids=str
)
async def test_other_work_is_another_job(provider, other):
    first = await start_job(PROGRAM, request(), lm_at(provider))
    assert (await start_job(PROGRAM, other, lm_at(provider))).job_id != first.job_id


async def test_a_cancelled_job_is_found_by_the_caller_whose_it_was_and_by_no_other(provider):
    with paying(Payer("run-1/activity-7")):
        job = await start_job(PROGRAM, request(), lm_at(provider))
        await cancel_job(job)
        again = await start_job(PROGRAM, request(), lm_at(provider))
    assert (again.job_id, again.status, again.ended) == (job.job_id, "cancelled", True)
    with paying(Payer("run-2/activity-7")):
        assert (await start_job(PROGRAM, request(), lm_at(provider))).job_id != job.job_id
    assert len(await files_at(provider)) == 1


async def test_cancelling_a_job_that_has_ended_changes_nothing(provider):
    job = await start_job(PROGRAM, request(), lm_at(provider))
    ended = await to_its_end(job)
    await cancel_job(job)
    assert await follow_job(job) == ended


async def test_a_job_whose_creation_was_answered_to_nobody_is_found(provider):
    async with Between(provider, forgets="/v1/fine_tuning/jobs") as between:
        job = await start_job(PROGRAM, request(), lm_at(between))
        assert between.forgotten == 1
    assert [there.id for there in await jobs_at(provider)] == [job.job_id]


async def test_a_file_whose_upload_was_answered_to_nobody_is_found(provider):
    async with Between(provider, forgets="/v1/files") as between:
        await start_job(PROGRAM, request(), lm_at(between))
        assert between.forgotten == 1
    assert len(await files_at(provider)) == 1


async def test_the_own_job_is_found_among_many_of_others_where_the_server_heeds_no_filter(provider):
    job = await start_job(PROGRAM, request(), lm_at(provider))
    [file] = await files_at(provider)
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="key") as client:
        for _ in range(105):
            await client.fine_tuning.jobs.create(model="other", training_file=file.id)
    async with Between(provider, heeds_filters=False) as between:
        assert (await start_job(PROGRAM, request(), lm_at(between))).job_id == job.job_id


async def test_too_few_examples_or_an_unknown_option_are_refused_before_anything_is_sent(provider):
    with pytest.raises(DatasetError, match=r"9 examples .* no fewer than 10"):
        await start_job(PROGRAM, request(9), lm_at(provider))
    with pytest.raises(ConfigurationError, match=r"takes no 'epochs'; it takes .*n_epochs"):
        await start_job(PROGRAM, request(train_kwargs={"epochs": 1}), lm_at(provider))
    assert await files_at(provider) == []


async def test_a_rejected_key_is_said_at_once(start_provider):
    provider = start_provider(api_key="another key")
    with pytest.raises(LMAuthenticationError, match="OPENAI_API_KEY"):
        await start_job(PROGRAM, request(), lm_at(provider))


async def test_a_trainer_gets_the_chats_and_what_it_makes_is_called(tmp_path):
    seen = {}

    def train(data, *, model, job_id, rank=1):
        seen.update(lines=data.read_text().count("\n") + 1, model=model, job_id=job_id, rank=rank)
        return TrainedModel(model="mine", api_base="http://127.0.0.1:9/v1")

    lm = LMConfig(model="openai/small", temperature=0.5)
    job = await start_job(PROGRAM, request(3, trainer=train, train_kwargs={"rank": 8}), lm)
    assert seen == {"lines": 3, "model": "small", "job_id": job.job_id, "rank": 8}
    assert job.tuned == LMConfig(model="openai/mine", api_base="http://127.0.0.1:9/v1", temperature=0.5)
    assert await follow_job(job) == job


async def test_a_trainer_may_be_async_and_return_a_name_and_gets_the_same_id_for_the_same_work():
    ids = []

    async def train(data, *, model, job_id):
        ids.append(job_id)
        return "openai/mine"

    for count in (3, 3, 4):
        job = await start_job(PROGRAM, request(count, trainer=train), LMConfig(model="openai/small"))
        assert job.tuned.model == "openai/mine"
    assert ids[0] == ids[1] != ids[2]


async def test_a_trainer_that_raises_or_gives_no_model_is_named():
    def failing(data, *, model, job_id):
        raise MemoryError("no room for it")

    def silent(data, *, model, job_id):
        return None

    def wrong(data, *, model, job_id):
        return TrainedModel(model="mine", api_base="nowhere")

    lm = LMConfig(model="openai/small")
    with pytest.raises(FineTuningError, match=r"failing failed on .*MemoryError: no room for it"):
        await start_job(PROGRAM, request(3, trainer=failing), lm)
    with pytest.raises(FineTuningError, match="silent returned a NoneType: return TrainedModel"):
        await start_job(PROGRAM, request(3, trainer=silent), lm)
    with pytest.raises(FineTuningError, match=r"wrong returned .* cannot be called: .*nowhere"):
        await start_job(PROGRAM, request(3, trainer=wrong), lm)


async def test_an_answer_that_is_no_job_is_asked_for_again_and_the_job_is_found(provider):
    async with Between(provider, forgets="/v1/fine_tuning/jobs", instead={"object": "list"}) as between:
        job = await start_job(PROGRAM, request(), lm_at(between))
    assert [there.id for there in await jobs_at(provider)] == [job.job_id]


class Between:
    """Stands before a provider and passes all on, but for the answer to the first POST at one path, or for filters."""

    def __init__(self, provider, *, forgets="", instead=None, heeds_filters=True):
        self._provider = provider
        self._forgets = forgets
        self._instead = instead
        self._heeds_filters = heeds_filters
        self.forgotten = 0

    async def __aenter__(self):
        self._session = ClientSession()
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()
        await self._session.close()

    async def _pass_on(self, request):
        query = {name: value for name, value in request.query.items() if self._heeds_filters or "[" not in name}
        url = self._provider.root_url + request.path
        headers = {name: request.headers[name] for name in ("Authorization", "Content-Type") if name in request.headers}
        body = await request.read()
        async with self._session.request(request.method, url, params=query, data=body, headers=headers) as answer:
            content = await answer.read()
            if request.method == "POST" and request.path == self._forgets and not self.forgotten:
                self.forgotten += 1
                if self._instead is None:
                    request.transport.abort()
                return web.json_response(self._instead or {})
            return web.Response(status=answer.status, body=content, content_type="application/json")
