import json
import sys

import pytest
from model_servers import lm_of

from dspex_core import BestOfN, ChainOfThought, Pipeline, Predict, ReAct, Refine, Retrieve, Signature, using
from dspex_core.errors import InputError, ProgramError, TrustError
from dspex_core.signature import InputField, OutputField

MY_APP = """
from dspex_core import Module, Predict
from dspex_core.seam import Passage
from dspex_core.tools import Tool

class Index:
    async def search(self, query, k):
        return [Passage(text=f"about {query}")] * k

index = Index()

def lookup(word: str) -> str:
    \"\"\"Look a word up.\"\"\"
    return word

renamed = Tool(lookup, name="find", timeout_seconds=2)

def short(inputs, prediction):
    return -float(len(prediction.answer))

class Own(Module):
    def __init__(self):
        self.ask = Predict("answer -> verdict")

    async def forward(self, answer):
        return await self.ask(answer=answer)
"""

SPEC = [
    {"module": "retrieve", "k": 2, "retriever": "spec_app:index", "query_field": "question", "output_field": "found"},
    {
        "module": "best_of_n",
        "part": {"module": "chain_of_thought", "signature": "found: list[str], question: str -> answer: str"},
        "N": 2,
        "reward_fn": "spec_app:short",
        "threshold": 0.0,
    },
    {
        "module": "pipeline",
        "parts": [
            {"module": "predict", "signature": "answer: str -> sure: bool", "instructions": "Are you sure?"},
            {
                "module": "react",
                "signature": "question: str, sure: bool -> answer: str",
                "tools": ["spec_app:lookup"],
                "max_iters": 4,
            },
        ],
    },
    {"program": "spec_app:Own"},
]


@pytest.fixture(autouse=True)
def my_app(tmp_path, monkeypatch):
    (tmp_path / "spec_app.py").write_text(MY_APP)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("spec_app", None)


async def test_every_kind_of_part_is_built_from_json_and_runs(start_provider):
    program = Pipeline.from_spec(json.loads(json.dumps(SPEC)))
    assert [type(part).__name__ for part in program.parts] == ["Retrieve", "BestOfN", "Pipeline", "Own"]
    with using(lm=lm_of(start_provider())):
        prediction = await program(question="why")
    assert prediction.found == ["about why", "about why"]
    assert prediction.verdict
    react = program.parts[2].parts[1]
    assert (react.max_iters, list(react.tools)) == (4, ["lookup", "finish"])


def test_a_pipeline_writes_the_spec_that_builds_it():
    written = Pipeline.from_spec(SPEC).to_spec()
    assert json.loads(json.dumps(written)) == [SPEC[0], {**SPEC[1], "fail_count": 2}, *SPEC[2:]]
    assert Pipeline.from_spec(written).to_spec() == written
    assert Pipeline.from_spec(written).get_state() == Pipeline.from_spec(SPEC).get_state()


def test_a_pipeline_made_in_code_is_written_and_built_again():
    import spec_app

    class Described(Signature):
        """Weigh it."""

        answer: str = InputField(desc="what was said")
        weight: float = OutputField()

    made = (
        Retrieve(retriever="spec_app:index")
        | Refine(ChainOfThought("context: list[str], question -> answer"), 2, spec_app.short, -5.0)
        | Predict(Described)
        | ReAct("weight: float -> fine: bool", tools=[spec_app.renamed, spec_app.lookup])
    )
    written = made.to_spec()
    built = Pipeline.from_spec(json.loads(json.dumps(written)))
    assert built.get_state() == made.get_state()
    assert built.to_spec() == written
    assert built.parts[2].signature.input_fields["answer"].description == "what was said"
    assert built.parts[3].tools["find"].timeout_seconds == 2
    assert written[3]["tools"][1] == "spec_app:lookup"


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("predict", r"part 2 of the pipeline is a str; write \{'module'"),
        ({}, "part 2 of the pipeline, 'module': a text is needed, not nothing"),
        ({"module": "predikt", "signature": "a -> b"}, "part 2 of the pipeline: .*did you mean 'predict'"),
        ({"module": "predict"}, "part 2 of the pipeline: a predict is declared without its signature"),
        ({"module": "predict", "signature": "a b"}, "part 2 of the pipeline, 'signature': .*exactly one '->'"),
        ({"module": "predict", "signature": "a -> b", "instructions": 3}, "'instructions': a text is needed, not 3"),
        (
            {"module": "predict", "signature": "a -> b", "temperature": 1},
            "of the pipeline: 'temperature' is not known",
        ),
        ({"module": "retrieve", "k": 0}, "part 2 of the pipeline: .* k: Input should be greater"),
        ({"module": "retrieve", "kk": 3}, "part 2 of the pipeline: .* kk: Extra inputs"),
        ({"module": "retrieve", "retriever": "index"}, "part 2 of the pipeline, 'retriever': 'index': write package"),
        ({"module": "react", "signature": "a -> b", "tools": "x:y"}, "'tools': a list is needed"),
        (
            {"module": "react", "signature": "a -> b", "tools": ["spec_app:gone"]},
            "'tools': tool .* cannot be",
        ),
        ({"module": "react", "signature": "a -> b", "tools": [{"name": "x"}]}, "'tools': desc: Field required"),
        ({"module": "best_of_n", "reward_fn": "spec_app:short", "N": 2, "threshold": 1}, "declared with 0 parts"),
        ({"module": "refine", "part": {"module": "predict", "signature": "a -> b"}}, "option 'N': Field required"),
        ({"module": "pipeline", "parts": [{"module": 1}]}, "part 2 of the pipeline, 'parts', part 1, 'module': a text"),
        ({"module": "pipeline", "parts": "ab"}, "part 2 of the pipeline, 'parts': a list"),
        ({"program": "spec_app:Gone"}, "part 2 of the pipeline: .*cannot be imported"),
        ({"program": "spec_app:Own", "k": 3}, "'program': beside it, 'k' is not known"),
    ],
)
def test_a_wrong_part_is_named_with_its_key(part, said):
    with pytest.raises(InputError, match=said):
        Pipeline.from_spec([{"module": "predict", "signature": "q -> a"}, part])


@pytest.mark.parametrize("part", SPEC[:2] + SPEC[2]["parts"][1:] + SPEC[3:])
def test_code_of_a_package_that_is_not_trusted_is_not_imported(part):
    with pytest.raises(TrustError, match=r"part 1 of the pipeline.*does not trust the package 'spec_app'"):
        Pipeline.from_spec([part], trust=["another"])
    assert "spec_app" not in sys.modules


def test_what_cannot_be_written_down_says_why():
    best = BestOfN(Predict("a -> b"), 2, lambda *_: 1.0, threshold=1.0)
    with pytest.raises(ProgramError, match="cannot be imported by a worker"):
        Pipeline([best]).to_spec()
