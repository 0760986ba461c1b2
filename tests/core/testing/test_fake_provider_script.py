import pytest
from model_servers import lm_of

from dspex_core import Predict, using
from dspex_core.errors import ConfigurationError
from dspex_core.testing import FakeProvider, FakeProviderProcess

ASK = Predict("text -> label, count: int")
SCRIPT = [
    {"when": ["parcel", "lost"], "answer": {"label": "lost parcel", "count": 1}, "times": 1},
    {"when": "parcel", "answer": "[[ ## label ## ]]\nparcel\n\n[[ ## count ## ]]\n2"},
]


async def labels(provider, *texts):
    with using(lm=lm_of(provider, cache=False)):
        return [(await ASK(text=text)).to_dict() for text in texts]


async def test_the_first_rule_that_fits_and_is_not_used_up_answers():
    async with FakeProvider(script=SCRIPT) as provider:
        found = await labels(provider, "a parcel", "my lost parcel", "my lost parcel")
    assert found == [
        {"label": "parcel", "count": 2},
        {"label": "lost parcel", "count": 1},
        {"label": "parcel", "count": 2},
    ]


async def test_where_no_rule_fits_the_model_answers_as_ever(http):
    body = {"model": "fake", "messages": [{"role": "user", "content": "[[ ## text ## ]]\nhello"}]}
    async with FakeProvider() as plain, FakeProvider(script=SCRIPT) as scripted:
        said = []
        for provider in (plain, scripted):
            async with http.post(f"{provider.base_url}/chat/completions", json=body) as response:
                said.append((await response.json())["choices"][0]["message"]["content"])
    assert said[0] == said[1]


async def test_a_script_can_be_replaced_over_http(provider, http):
    url = provider.base_url.removesuffix("/v1") + "/script"
    async with http.post(url, json=SCRIPT) as response:
        assert await response.json() == {"rules": 2}
    assert await labels(provider, "a parcel") == [{"label": "parcel", "count": 2}]
    async with http.post(url, json=[{"when": "x", "reply": "y"}]) as response:
        assert response.status == 400
        assert "0.reply: Extra inputs are not permitted" in (await response.json())["error"]["message"]


@pytest.mark.slow
async def test_a_provider_in_its_own_process_follows_a_script():
    with FakeProviderProcess(script=SCRIPT) as provider:
        assert await labels(provider, "a parcel") == [{"label": "parcel", "count": 2}]
        provider.set_script([{"when": "parcel", "answer": {"label": "other", "count": 3}}])
        assert await labels(provider, "a parcel") == [{"label": "other", "count": 3}]


def test_a_script_that_cannot_be_used_is_refused():
    with pytest.raises(ConfigurationError, match=r"the script cannot be used: 0: give an answer"):
        FakeProvider(script=[{"when": "x"}])
