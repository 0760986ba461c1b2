import json

import openai
import pytest
from intent_prompts import LABELS, fields_of, prompt

from dspex_core.testing import FakeProvider

ROWS = [(f"flarn {number} blorb", "change_pin") for number in range(10)]


@pytest.fixture
async def client(provider):
    async with sdk_of(provider) as opened:
        yield opened


def sdk_of(provider, key="key"):
    address = {"base_url": provider.base_url, "api_key": key}
    return openai.AsyncOpenAI(**address, max_retries=0, _strict_response_validation=True)


def training_file(rows=ROWS):
    lines = []
    for text, label in rows:
        messages = prompt(text)["messages"]
        answer = {"role": "assistant", "content": f"[[ ## label ## ]]\n{label}\n\n[[ ## completed ## ]]"}
        lines.append(json.dumps({"messages": [*messages, answer]}))
    return "train.jsonl", "\n".join(lines).encode()


async def upload(client, file=None):
    return await client.files.create(file=file or training_file(), purpose="fine-tune")


async def test_a_file_can_be_uploaded_described_read_listed_and_deleted(client):
    name, content = training_file()
    stored = await upload(client)
    other = await client.files.create(file=("a.txt", b"abc"), purpose="user_data")
    assert (stored.filename, stored.bytes, stored.purpose, stored.status) == (
        name,
        len(content),
        "fine-tune",
        "processed",
    )
    assert await client.files.retrieve(stored.id) == stored
    assert (await client.files.content(stored.id)).content == content
    assert [each.id async for each in client.files.list()] == [other.id, stored.id]
    assert [each.id async for each in client.files.list(limit=1)] == [other.id, stored.id]
    assert [each.id async for each in client.files.list(purpose="fine-tune")] == [stored.id]
    assert (await client.files.delete(stored.id)).deleted
    with pytest.raises(openai.NotFoundError, match=stored.id):
        await client.files.retrieve(stored.id)


async def test_a_file_of_another_kind_is_refused(client):
    with pytest.raises(openai.BadRequestError, match=r"\.jsonl"):
        await upload(client, ("train.csv", b"a,b"))
    with pytest.raises(openai.BadRequestError, match="purpose"):
        await client.files.create(file=training_file(), purpose="fun")


async def tuned_model(client, stored):
    job = await client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=stored.id, suffix="mine")
    while job.status not in ("succeeded", "failed"):
        job = await client.fine_tuning.jobs.retrieve(job.id)
    return job


async def test_a_job_gets_on_each_time_it_is_asked_about():
    async with FakeProvider(fine_tuning_polls=4) as provider, sdk_of(provider) as client:
        stored = await upload(client)
        job = await client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=stored.id, seed=5)
        seen = [job.status]
        while seen[-1] != "succeeded":
            assert job.fine_tuned_model is None
            job = await client.fine_tuning.jobs.retrieve(job.id)
            seen.append(job.status)
        messages = [event.message async for event in client.fine_tuning.jobs.list_events(job.id)]
        assert [each.id async for each in client.fine_tuning.jobs.list()] == [job.id]
    assert seen == ["queued", "queued", "queued", "running", "running", "succeeded"]
    assert job.trained_tokens > 0
    assert (job.seed, job.error) == (5, None)
    assert messages[0] == f"New fine-tuned model created: {job.fine_tuned_model}"
    assert messages[-1].startswith("Created")


async def test_the_tuned_model_answers_by_the_rows_it_was_trained_on(client):
    body = prompt("wibble wobble")
    before = await client.chat.completions.create(**body)
    taught = next(label for label in LABELS if label != fields_of(before.choices[0].message.content)["label"])
    stored = await upload(client, training_file([*ROWS, ("wibble the wobble", taught)]))
    job = await tuned_model(client, stored)
    assert job.fine_tuned_model.startswith("ft:gpt-4o-mini:")
    assert job.fine_tuned_model in [model.id async for model in client.models.list()]
    after = await client.chat.completions.create(**body | {"model": job.fine_tuned_model})
    assert fields_of(after.choices[0].message.content)["label"] == taught
    assert after.usage.prompt_tokens == before.usage.prompt_tokens


async def test_a_tuned_model_learns_chats_without_fields_as_well(client):
    lines = [
        {
            "messages": [
                {"role": "user", "content": f"word{number}"},
                {"role": "assistant", "content": f"answer{number}"},
            ]
        }
        for number in range(10)
    ]
    stored = await upload(client, ("chats.jsonl", "\n".join(map(json.dumps, lines)).encode()))
    job = await tuned_model(client, stored)
    asked = [{"role": "user", "content": "So, word7?"}]
    answer = await client.chat.completions.create(model=job.fine_tuned_model, messages=asked)
    assert answer.choices[0].message.content == "answer7"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"{", "Line 1 is not valid JSON"),
        (b'{"messages": []}', "Line 1, messages"),
        (b'{"messages": [{"role": "user", "content": "a"}]}', "Line 1 has no message from the assistant"),
        (training_file(ROWS[:3])[1], "must have at least 10"),
    ],
)
async def test_a_file_that_cannot_be_learnt_from_fails_the_job(client, content, complaint):
    stored = await upload(client, ("train.jsonl", content))
    job = await client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=stored.id)
    job = await client.fine_tuning.jobs.retrieve(job.id)
    assert (job.status, job.error.code, job.fine_tuned_model) == ("failed", "invalid_training_file", None)
    assert complaint in job.error.message


async def test_a_job_can_be_cancelled_until_it_has_ended(client):
    stored = await upload(client)
    job = await client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=stored.id)
    assert (await client.fine_tuning.jobs.cancel(job.id)).status == "cancelled"
    assert (await client.fine_tuning.jobs.retrieve(job.id)).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="already ended"):
        await client.fine_tuning.jobs.cancel(job.id)


async def test_what_is_not_there_is_named(client):
    with pytest.raises(openai.NotFoundError, match="ftjob-9"):
        await client.fine_tuning.jobs.retrieve("ftjob-9")
    with pytest.raises(openai.BadRequestError, match="file-9"):
        await client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file="file-9")
    with pytest.raises(openai.NotFoundError, match="ft:nobody") as caught:
        await client.chat.completions.create(**prompt("hello") | {"model": "ft:nobody"})
    assert caught.value.code == "model_not_found"


async def test_files_and_jobs_need_the_key_too():
    async with FakeProvider(api_key="right") as provider, sdk_of(provider, "wrong") as client:
        with pytest.raises(openai.AuthenticationError):
            await upload(client)
        with pytest.raises(openai.AuthenticationError):
            await client.fine_tuning.jobs.retrieve("ftjob-1")


async def test_jobs_are_found_by_their_metadata(client):
    stored = await upload(client)
    jobs = [
        await client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=stored.id, metadata=metadata)
        for metadata in ({"work": "a", "run": "1"}, {"work": "b"}, None)
    ]
    assert [job.id async for job in client.fine_tuning.jobs.list(metadata={"work": "a"})] == [jobs[0].id]
    assert [job.id async for job in client.fine_tuning.jobs.list(metadata={"work": "a", "run": "2"})] == []
    assert [job.id async for job in client.fine_tuning.jobs.list()] == [job.id for job in reversed(jobs)]


async def test_a_job_says_with_which_hyperparameters_it_trains(client):
    stored = await upload(client)
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 5}}}
    job = await client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=stored.id, method=method)
    assert job.method.supervised.hyperparameters.n_epochs == 5
    assert job.method.supervised.hyperparameters.batch_size == 1


async def test_an_outage_is_one_of_files_and_jobs_too(provider, client):
    stored = await upload(client)
    provider.change(outage="unavailable")
    with pytest.raises(openai.InternalServerError):
        await client.files.retrieve(stored.id)
    with pytest.raises(openai.InternalServerError):
        await client.fine_tuning.jobs.list()
    provider.change(outage=None)
    assert (await client.files.retrieve(stored.id)).id == stored.id
