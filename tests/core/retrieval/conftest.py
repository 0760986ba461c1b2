import pytest

from dspex_core.lm import _retrying
from dspex_core.retrieval import Embedder

CITIES = [
    {"id": "paris", "text": "Paris is the capital of France, on the river Seine.", "country": "France"},
    {"id": "rome", "text": "Rome is the capital of Italy, on the river Tiber.", "country": "Italy"},
    {"id": "oslo", "text": "Oslo is the capital of Norway, by a fjord.", "country": "Norway"},
    {"id": "cairo", "text": "Cairo lies on the Nile, near the pyramids of Giza.", "country": "Egypt"},
]


@pytest.fixture
def cities():
    return [dict(city) for city in CITIES]


@pytest.fixture
def embedder(provider):
    return Embedder("openai/fake-embedding", api_base=provider.base_url)


@pytest.fixture
def short_waits(monkeypatch):
    monkeypatch.setattr(_retrying, "_wait", lambda _: 0.001)
