import json

import pytest

from dspex_core import (
    LM,
    BestOfN,
    ChainOfThought,
    InputField,
    JSONAdapter,
    Module,
    OutputField,
    Predict,
    ReAct,
    Retrieve,
    Signature,
)
from dspex_core.errors import ProgramError, UnknownNameError

DEMO = {"text": "it crashed ☂", "team": "bug", "tags": ["x", {"deep": None}]}


class Triage(Signature):
    """Route a customer's message."""

    text: str = InputField(desc="the message")
    team: str = OutputField()


def taught(program):
    """The program in a state that no fresh one is in."""
    program.set_lm(LM("openai/m", temperature=0.5, max_tokens=9))
    return program.with_state(program.get_state().with_demos(dict.fromkeys(program.named_predictors(), (DEMO,))))


def dspy_file(folder, program=None, **changes):
    """A file of DSPy's for a predictor of `Triage`, with changes to what is written of it."""
    path = folder / "dspy.json"
    (program or taught(ChainOfThought(Triage))).save_state(path, format="dspy")
    data = json.loads(path.read_text())
    data["predict"].update(changes)
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize("form", ["dspex", "dspy"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: Predict(Triage),
        lambda: ChainOfThought(Triage),
        lambda: Predict("text -> topic") | ChainOfThought("text, topic -> team"),
        lambda: Retrieve(k=2, query_field="text") | Predict("text, context: list[str] -> team"),
        lambda: BestOfN(ChainOfThought(Triage), 3, lambda inputs, prediction: 1.0, threshold=1.0),
        lambda: ReAct("text -> team", tools=[]),
    ],
)
def test_a_saved_state_comes_back_as_it_was(tmp_path, make, form):
    program = taught(make())
    program.save_state(tmp_path / "state.json", format=form)
    fresh = make()
    assert fresh.load_state(tmp_path / "state.json", format=form) is fresh
    assert fresh.get_state() == program.get_state()


def test_a_state_alone_needs_no_structure_that_can_be_written_down(tmp_path):
    class Local(Module):
        def __init__(self):
            self.answer = Predict(Triage)

    program = taught(Local())
    program.save_state(tmp_path / "state.json")
    assert Local().load_state(tmp_path / "state.json").get_state() == program.get_state()


def test_saving_a_program_for_dspy_writes_what_saving_its_state_for_dspy_writes(tmp_path):
    program = taught(ChainOfThought(Triage))
    program.save(tmp_path / "one.json", format="dspy")
    program.save_state(tmp_path / "other.json", format="dspy")
    assert (tmp_path / "one.json").read_text() == (tmp_path / "other.json").read_text()


@pytest.mark.parametrize(
    ("field", "titled"),
    [("text", "Text:"), ("source_url", "Source Url:"), ("top2Hits", "Top 2 Hits:"), ("HTMLPage", "HTML Page:")],
)
def test_fields_are_titled_for_dspy_as_it_titles_them(tmp_path, field, titled):
    Predict(f"{field} -> answer").save_state(tmp_path / "state.json", format="dspy")
    fields = json.loads((tmp_path / "state.json").read_text())["signature"]["fields"]
    assert fields[0] == {"prefix": titled, "description": f"${{{field}}}"}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"traces": [1]}, "'traces' of 'predict' has no equivalent here"),
        ({"train": [{}]}, "'train' of 'predict' has no equivalent here"),
        ({"fields": {"team": {"criteria": "x"}}}, "'fields' of 'predict' has no equivalent here"),
        ({"demos": "none"}, "'predict' is not what DSPy writes: demos: "),
        ({"signature": {"instructions": "Do.", "fields": []}}, "'predict' has 0 fields there; here they are text, "),
        ({"lm": {"model": "openai/m"}}, "leaves its temperature to the provider"),
        ({"lm": {"model": "openai/m", "temperature": 0.0, "extra_headers": {"key": "s3cret"}}}, "has 'extra_headers'"),
        ({"lm": {"model": "openai/m", "temperature": 0.0, "num_retries": 8}}, "has 'num_retries'"),
        ({"lm": {"model": "groq:m", "temperature": 0.0}}, "the LM of 'predict': LM 'groq:m': write provider/model"),
        ({"lm": {"model": "openai/m", "temperature": -1.0}}, "the LM of 'predict': temperature: "),
        ({"lm": {"temperature": 0.0}}, "the LM of 'predict': model: Field required"),
    ],
)
def test_what_dspy_wrote_and_has_no_equivalent_here_is_refused_by_name(tmp_path, changes, complaint):
    program = ChainOfThought(Triage)
    path = dspy_file(tmp_path, **changes)
    with pytest.raises(ProgramError) as caught:
        program.load_state(path, format="dspy")
    assert complaint in str(caught.value)
    assert str(path) in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert program.get_state() == ChainOfThought(Triage).get_state()


@pytest.mark.parametrize(
    ("signature", "complaint"),
    [
        ("message -> team", "field 'message' of 'predict' is described as 'the message' there and as '' here"),
        ("text -> label", "field 'text' of 'predict' is described as 'the message' there and as '' here"),
        ("text -> team, more", "has 3 fields there; here they are text, reasoning, team, more"),
    ],
)
def test_a_state_of_another_signature_is_refused_by_field(tmp_path, signature, complaint):
    path = dspy_file(tmp_path)
    with pytest.raises(ProgramError, match=complaint):
        ChainOfThought(signature).load_state(path, format="dspy")


def test_a_field_of_another_name_is_seen_where_dspy_left_its_name(tmp_path):
    path = dspy_file(tmp_path, taught(ChainOfThought("text -> team")))
    with pytest.raises(ProgramError, match="'predict' has a field 'team' there where it has 'label' here"):
        ChainOfThought("text -> label").load_state(path, format="dspy")


def test_the_state_of_a_program_with_other_parts_is_refused_by_part(tmp_path):
    path = dspy_file(tmp_path)
    with pytest.raises(ProgramError, match="'predict' is there only; there are predict, here self"):
        Predict(Triage).load_state(path, format="dspy")
    Predict(Triage).save_state(path, format="dspy")
    with pytest.raises(ProgramError, match="'self' is there only; there are self, here predict"):
        ChainOfThought(Triage).load_state(path, format="dspy")


def test_a_search_for_another_number_of_passages_is_refused(tmp_path):
    def program(k):
        return Retrieve(k=k) | Predict("question, context: list[str] -> answer")

    program(2).save_state(tmp_path / "state.json", format="dspy")
    with pytest.raises(ProgramError, match=r"'parts\[0\]' asks for k=2 passages there and for k=3 here"):
        program(3).load_state(tmp_path / "state.json", format="dspy")


def test_a_search_that_had_no_state_there_stays_as_it_is_here(tmp_path):
    def program():
        return Retrieve(k=2) | Predict("question, context: list[str] -> answer")

    path = tmp_path / "state.json"
    program().save_state(path, format="dspy")
    data = json.loads(path.read_text())
    del data["parts[0]"]
    path.write_text(json.dumps(data))
    assert program().load_state(path, format="dspy").get_state() == program().get_state()


def test_what_dspy_has_no_place_for_is_refused_by_name_before_anything_is_written(tmp_path):
    program = Predict(Triage)
    program.set_lm(LM("openai/m", concurrency=3))
    with pytest.raises(ProgramError, match="the LM of 'self' has concurrency=3, which DSPy has no equivalent"):
        program.save(tmp_path / "state.json", format="dspy")

    program = Predict(Triage)
    program.set_adapter(JSONAdapter())
    with pytest.raises(ProgramError, match="'self' has an adapter of its own, which DSPy's file has no place for"):
        program.save(tmp_path / "state.json", format="dspy")

    class Odd(Module):
        def __init__(self):
            self.metadata = Predict(Triage)

    with pytest.raises(ProgramError, match="DSPy keeps the name 'metadata' in its files for itself"):
        Odd().save_state(tmp_path / "state.json", format="dspy")
    assert list(tmp_path.glob("state*")) == []


def test_marks_and_columns_that_no_model_sees_are_kept_in_the_demos(tmp_path):
    demo = {"augmented": True, "text": "a", "reasoning": "r", "team": "b", "ticket": 7}
    path = dspy_file(tmp_path, demos=[demo])
    assert ChainOfThought(Triage).load_state(path, format="dspy").predict.state.demos == (demo,)


@pytest.mark.parametrize(
    ("saved", "load", "advice"),
    [
        (lambda p, path: p.save(path), lambda p, path: p.load_state(path), r"Module\.load\(path\) reads"),
        (lambda p, path: p.save_state(path), lambda p, path: Module.load(path), r"program\.load_state\(path\) reads"),
        (
            lambda p, path: p.save(path, format="dspy"),
            lambda p, path: p.load_state(path),
            r"load_state\(path, format='dspy'\) reads",
        ),
        (
            lambda p, path: p.save(path, format="dspy"),
            lambda p, path: Module.load(path),
            r"load_state\(path, format='dspy'\) reads",
        ),
        (
            lambda p, path: p.save(path),
            lambda p, path: p.load_state(path, format="dspy"),
            "load it without format='dspy'",
        ),
    ],
)
def test_a_file_of_another_kind_says_what_reads_it(tmp_path, saved, load, advice):
    path = tmp_path / "file.json"
    saved(ChainOfThought(Triage), path)
    with pytest.raises(ProgramError, match=advice):
        load(ChainOfThought(Triage), path)


def test_a_state_of_another_version_and_one_of_another_program_are_refused(tmp_path):
    path = tmp_path / "state.json"
    path.write_text('{"dspex_state": 2, "state": {"predictors": {}}}')
    with pytest.raises(ProgramError, match="has state format 2; this DSPEx reads format 1"):
        Predict(Triage).load_state(path)
    ChainOfThought(Triage).save_state(path)
    with pytest.raises(ProgramError, match="this state has predictors predict; the program's are self"):
        Predict(Triage).load_state(path)


def test_an_unknown_format_is_refused_with_those_there_are(tmp_path):
    for use in (Predict(Triage).save, Predict(Triage).save_state, Predict(Triage).load_state):
        with pytest.raises(UnknownNameError, match="unknown format 'pickle'"):
            use(tmp_path / "x", format="pickle")
