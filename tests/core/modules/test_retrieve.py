import copy

import pytest
from model_servers import asked, lm_of, written

from dspex_core import Module, Predict, Retrieve, configure, using
from dspex_core.errors import ConfigurationError, ProgramError, RetrievalError, TrustError
from dspex_core.evaluate import Evaluate
from dspex_core.programs import DeclaredProgram
from dspex_core.record import Example
from dspex_core.retrieval import BM25Index
from dspex_core.seam import Passage, Retriever

TEXTS = ["Paris is the capital of France.", "Rome is the capital of Italy.", "Oslo is the capital of Norway."]


@pytest.fixture
def index():
    return BM25Index(TEXTS)


@pytest.fixture
def app(tmp_path, monkeypatch):
    source = f"from dspex_core.retrieval import BM25Index\ncities = BM25Index({TEXTS!r})\n"
    (tmp_path / "cities_app.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    yield "cities_app:cities"
    import sys

    sys.modules.pop("cities_app", None)


class Broken:
    async def search(self, query, k):
        raise RetrievalError("the index is on fire")


async def test_it_finds_texts_and_whole_passages(index):
    with using(retriever=Broken()):
        prediction = await Retrieve(k=2, retriever=index)(question="the capital of Italy?")
    assert prediction.context == [TEXTS[1], TEXTS[0]]
    assert [passage.id for passage in prediction.passages] == ["1", "0"]
    assert isinstance(index, Retriever)


async def test_a_query_wins_over_the_question_it_was_made_of(index):
    search = Retrieve(k=1, retriever=index)
    with using(retriever=index):
        assert (await search(query="Norway")).context == [TEXTS[2]]
        assert (await search(question="France?", query="Norway")).context == [TEXTS[2]]


async def test_fields_may_have_other_names(index):
    search = Retrieve(k=1, retriever=index, query_field="about", output_field="facts")
    with using(retriever=index):
        assert (await search(about="Italy")).facts == [TEXTS[1]]
    assert (search.input_names(), search.output_names()) == ({"about": True}, {"facts", "passages"})


async def test_the_retriever_in_force_is_taken_where_none_is_given(index):
    search = Retrieve(k=1)
    with using(retriever=index):
        assert (await search(question="Italy")).context == [TEXTS[1]]
        assert search.run(question="Italy").context == [TEXTS[1]]
    with pytest.raises(ConfigurationError, match="nothing is set up to search with"):
        await search(question="Italy")


async def test_its_own_retriever_wins_over_the_one_in_force(index):
    with using(retriever=Broken()):
        assert (await Retrieve(k=1, retriever=index)(question="Italy")).context == [TEXTS[1]]


async def test_using_one_of_lm_and_retriever_keeps_the_other(index, start_model):
    lm = lm_of(start_model(lambda messages: written(answer=asked(messages)["context"])))
    configure(lm=lm, retriever=Broken())
    program = Retrieve(k=1) | Predict("context: list[str], question -> answer")
    with using(retriever=index):
        assert "Rome" in (await program(question="Italy?")).answer
        with using(lm=lm):
            assert "Oslo" in (await program(question="Norway?")).answer
    with pytest.raises(RetrievalError, match="on fire"):
        await program(question="Italy?")


async def test_with_an_lm_alone_it_says_that_a_retriever_is_missing(provider):
    with (
        using(lm=lm_of(provider)),
        pytest.raises(ConfigurationError, match="no retriever is set: write Retrieve"),
    ):
        await Retrieve()(question="Italy")


async def test_a_retriever_may_be_named_by_where_it_is_imported_from(app):
    with using(retriever=Broken()):
        assert (await Retrieve(k=1, retriever=app)(question="Italy")).context == [TEXTS[1]]


async def test_a_pipeline_lets_fields_flow_through_it(index, start_model):
    model = start_model(lambda messages: written(answer=f"from {asked(messages)['context']}"))
    program = Retrieve(k=1, retriever=index) | Predict("context: list[str], question -> answer")
    with using(lm=lm_of(model)):
        prediction = await program(question="Which is Norway's capital?")
    assert "Oslo" in prediction.answer
    assert prediction.context == [TEXTS[2]]


async def test_a_search_that_fails_ends_an_evaluation_instead_of_scoring(provider):
    program = Retrieve(retriever=Broken()) | Predict("context: list[str], question -> answer")
    rows = [Example(question="a", answer="b").with_inputs("question")]
    with using(lm=lm_of(provider)), pytest.raises(RetrievalError, match="on fire"):
        await Evaluate(rows, "exact_match")(program)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "'query' or 'question'; it got nothing"),
        ({"question": 5}, "it got a int"),
        ({"query": "a", "k": 3}, "there is no input 'k'; Retrieve takes query or question"),
    ],
)
async def test_a_query_that_is_none_is_named(index, inputs, said):
    with using(retriever=index), pytest.raises(ProgramError, match=said):
        await Retrieve()(**inputs)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"k": 0}, "1 passage or more"),
        ({"retriever": 5}, "int is no retriever: it needs a method"),
        ({"retriever": BM25Index}, "BM25Index is no retriever"),
        ({"output_field": "passages"}, "name another"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ConfigurationError, match=said):
        Retrieve(**options)


async def test_a_saved_pipeline_finds_its_retriever_again(app, tmp_path, start_model):
    program = Retrieve(k=1, retriever=app, output_field="facts") | Predict("facts: list[str], question -> answer")
    program.save(tmp_path / "rag.json")
    model = start_model(lambda messages: written(answer=f"from {asked(messages)['facts']}"))
    # Its author may go on working on the module; only a worker insists on the same source.
    with (tmp_path / "cities_app.py").open("a") as source:
        source.write("# a note\n")
    with using(lm=lm_of(model)):
        assert "Rome" in (await Module.load(tmp_path / "rag.json")(question="Italy")).answer


def test_a_file_that_names_a_retriever_outside_the_trusted_packages_is_refused(app, tmp_path):
    (Retrieve(retriever=app) | Predict("context: list[str], question -> answer")).save(tmp_path / "rag.json")
    with pytest.raises(TrustError, match="the package 'cities_app' that the retriever cities_app:cities"):
        Module.load(tmp_path / "rag.json", trust=["other"])


async def test_a_declared_retrieve_is_rebuilt_with_its_options(app):
    reference = Retrieve(k=2, retriever=app, query_field="q", output_field="facts").reference()
    assert isinstance(reference, DeclaredProgram)
    assert reference.options["retriever"]["source_digest"]
    read_again = DeclaredProgram.model_validate_json(reference.model_dump_json())
    rebuilt = Retrieve.from_options(read_again.options)
    assert rebuilt.reference() == reference
    with using(retriever=Broken()):
        assert len((await rebuilt(q="capital of Italy")).facts) == 2


async def test_without_a_retriever_of_its_own_it_can_be_saved_and_takes_the_one_in_force(index, tmp_path):
    Retrieve(k=1).save(tmp_path / "search.json")
    with using(retriever=index):
        assert (await Module.load(tmp_path / "search.json")(question="Italy")).context == [TEXTS[1]]


def test_a_retriever_that_is_an_object_says_why_it_cannot_be_sent(index):
    program = Retrieve(retriever=index) | Predict("context: list[str], question -> answer")
    with pytest.raises(ProgramError, match=r"holds a BM25Index, an object of this process.*package\.module:attribute"):
        program.reference()


def test_options_of_a_file_that_do_not_fit_are_an_error_of_the_program():
    for options in ({"k": "many"}, {"speed": 3}, {"retriever": {"way": "x"}}):
        with pytest.raises(ProgramError, match="a retrieve is declared with options that do not fit"):
            Retrieve.from_options(options)


def test_copies_share_the_index(index):
    search = Retrieve(retriever=index)
    assert copy.deepcopy(search)._retriever is index


async def test_an_object_with_one_method_is_a_retriever():
    class Fixed:
        async def search(self, query, k):
            return [Passage(text=f"{query} {number}") for number in range(k)]

    with using(retriever=Fixed()):
        assert (await Retrieve(k=2)(question="fact")).context == ["fact 0", "fact 1"]


class Failing:
    async def search(self, query, k):
        raise KeyError("shard 3")


class Texts:
    async def search(self, query, k):
        return ["a text"]


class Blocking:
    def search(self, query, k):
        return [Passage(text="a text")]


@pytest.mark.parametrize(
    ("retriever", "told"),
    [
        (Failing(), "the retriever Failing failed: KeyError: 'shard 3'"),
        (Texts(), "the retriever Texts gave a str where a Passage is needed"),
        (Blocking(), "the retriever Blocking is not async"),
    ],
)
async def test_a_retriever_of_ones_own_that_misbehaves_is_named(retriever, told):
    with using(retriever=retriever), pytest.raises(RetrievalError, match=told):
        await Retrieve()(question="?")
