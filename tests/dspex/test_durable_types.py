"""Durable runs over types that only the client's process declares."""

from enum import Enum
from typing import Annotated

import pytest
from pydantic import AfterValidator, BaseModel, Field

from dspex_core import Example, InputField, OutputField, Predict, Signature, using
from dspex_core.errors import SignatureError
from dspex_core.optimizers import LabeledFewShot
from dspex_core.testing import conformance_rows

pytestmark = pytest.mark.slow

Topic = Enum("Topic", {topic.upper(): topic for topic in ("billing", "shipping", "account", "bug")})


class Message(BaseModel):
    """What came in."""

    text: str = Field(max_length=500)
    topics: list[Topic] = []


class File(Signature):
    """File the message."""

    message: Message = InputField()
    topic: Topic = OutputField()


ROWS = [Example(message={"text": row.text}, topic=row.topic).with_inputs("message") for row in conformance_rows(40)]


async def test_a_durable_compile_over_declared_types_needs_no_code_on_the_worker_and_ends_as_in_process(
    platform, client
):
    optimizer = LabeledFewShot(metric="exact_match", k=12)
    with using(lm=platform.lm()):
        here = await optimizer.compile(Predict(File), trainset=ROWS[:24], valset=ROWS[24:])
    run = await client.compile(
        Predict(File), optimizer=optimizer, trainset=ROWS[:24], valset=ROWS[24:], lm=platform.lm()
    )
    durable = await run.result()
    assert durable.score == here.score > durable.baseline_score
    assert durable.program.get_state() == here.program.get_state()
    assert durable.program.signature.equals(File)


async def test_a_type_with_code_is_refused_by_name_before_a_run_starts(platform, client):
    class Shouted(Signature):
        """Shout it."""

        text: str = InputField()
        cry: Annotated[str, AfterValidator(str.upper)] = OutputField()

    with pytest.raises(SignatureError, match=r"field 'cry' of Shouted cannot be written down.*AfterValidator is code"):
        await client.compile(
            Predict(Shouted),
            optimizer=LabeledFewShot(metric="exact_match"),
            trainset=ROWS,
            valset=ROWS,
            lm=platform.lm(),
        )
