import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Literal

import pytest
from model_servers import lm_of, written
from pydantic import AfterValidator

from dspex_core import ChainOfThought, InputField, Module, OutputField, Predict, Signature, using
from dspex_core.errors import ProgramError, SignatureError, TrustError, UnknownNameError
from dspex_core.modules import build_program
from dspex_core.programs import read_program
from dspex_core.seam import PredictorState, ProgramState

SOURCE = """
from dspex_core import ChainOfThought, Module, Predict

class Answer(Module):
    def __init__(self):
        self.search = Predict("question -> query")
        self.answer = ChainOfThought("question, query -> answer")

    async def forward(self, question):
        found = await self.search(question=question)
        return await self.answer(question=question, query=found.query)

class Echo(Predict):
    def __init__(self):
        super().__init__("text -> text_again")

class NeedsSize(Module):
    def __init__(self, size):
        self.parts = [Predict("a -> b") for _ in range(size)]

ready = NeedsSize(2)
number = 7
"""


class Triage(Signature):
    """Route a customer's message."""

    text: str = InputField(desc="the message")
    team: Literal["billing", "bug"] = OutputField()


@pytest.fixture
def their_app(tmp_path, monkeypatch):
    """A package of a user's own, importable."""
    folder = tmp_path / "their_app"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "programs.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("their_app", "their_app.programs"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import their_app.programs

    return their_app.programs


def taught(program, **changes):
    """The program in a state that no fresh one is in."""
    predictors = program.get_state().predictors
    demo = {"text": "it crashed ☂", "team": "bug", "tags": ["x", {"deep": None}]}
    return program.with_state(
        ProgramState(
            predictors={
                name: PredictorState(instructions=f"Do {name} well.\nTwice.", demos=(demo,)) for name in predictors
            }
        )
    )


@pytest.mark.parametrize("kind", [Predict, ChainOfThought])
@pytest.mark.parametrize("signature", [Triage, "text, tags: list[str] -> team: Literal['a', 'b'], sure: bool"])
def test_a_built_in_module_comes_back_as_it_was_saved_without_any_code(tmp_path, kind, signature):
    program = taught(kind(signature))
    program.save(tmp_path / "program.json")
    loaded = Module.load(tmp_path / "program.json", trust=())
    assert type(loaded) is kind
    assert loaded.get_state() == program.get_state()
    assert loaded.signature.to_spec() == program.signature.to_spec()


async def test_a_loaded_program_sends_the_very_prompt_of_the_saved_one(tmp_path, start_model):
    model = start_model(lambda _: written(reasoning="r", team="bug"))
    program = taught(ChainOfThought(Triage))
    program.save(tmp_path / "program.json")
    with using(lm=lm_of(model, cache=False)):
        await program(text="help")
        await Module.load(tmp_path / "program.json")(text="help")
    assert model.conversations[0] == model.conversations[1]


def test_a_module_of_ones_own_comes_back_from_its_package(tmp_path, their_app):
    program = taught(their_app.Answer())
    program.save(tmp_path / "program.json")
    loaded = Module.load(tmp_path / "program.json", trust=["their_app"])
    assert type(loaded) is their_app.Answer
    assert loaded.get_state() == program.get_state()
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == (tmp_path / "program.json").read_text()


def test_a_predictor_of_ones_own_is_not_taken_for_the_built_in_one(tmp_path, their_app):
    their_app.Echo().save(tmp_path / "program.json")
    assert type(Module.load(tmp_path / "program.json")) is their_app.Echo


def test_a_saved_program_is_readable_json(tmp_path):
    taught(Predict(Triage)).save(tmp_path / "program.json")
    text = (tmp_path / "program.json").read_text()
    data = json.loads(text)
    assert data["dspex_program"] == 1
    assert data["structure"]["module"] == "predict"
    assert data["state"]["predictors"]["self"]["instructions"] == "Do self well.\nTwice."
    assert "it crashed ☂" in text
    assert len(text.splitlines()) > 20


def test_a_package_that_is_not_trusted_is_never_imported(tmp_path, their_app, monkeypatch):
    their_app.Answer().save(tmp_path / "program.json")
    monkeypatch.delitem(sys.modules, "their_app.programs")
    with pytest.raises(TrustError, match=r"does not trust the package 'their_app'.*--trust their_app"):
        Module.load(tmp_path / "program.json", trust=["theirs"])
    assert "their_app.programs" not in sys.modules


def test_a_worker_refuses_code_that_has_changed_since_and_its_author_may_load_it(tmp_path, their_app, monkeypatch):
    their_app.Answer().save(tmp_path / "program.json")
    with (tmp_path / "their_app" / "programs.py").open("a") as source:
        source.write("# changed\n")
    for name in ("their_app", "their_app.programs"):
        monkeypatch.delitem(sys.modules, name)  # as in a process that is started later
    structure = read_program(tmp_path / "program.json").structure
    with pytest.raises(TrustError, match=r"their_app\.programs:Answer differs"):
        build_program(structure, trust=["their_app"])
    loaded = Module.load(tmp_path / "program.json")
    assert loaded.get_state() == their_app.Answer().get_state()
    build_program(loaded.reference(), trust=["their_app"])


def test_a_module_that_needs_arguments_says_how_to_name_it_instead(tmp_path, their_app):
    with pytest.raises(ProgramError, match=r"NeedsSize cannot be rebuilt without arguments.*package\.module:attribute"):
        their_app.NeedsSize(2).save(tmp_path / "program.json")
    assert not (tmp_path / "program.json").exists()


def test_a_module_that_builds_itself_differently_each_time_is_refused(tmp_path, their_app):
    program = their_app.Answer()
    program.extra = Predict("a -> b")
    with pytest.raises(ProgramError, match="builds other predictors"):
        program.save(tmp_path / "program.json")


def test_a_class_that_no_other_process_can_import_is_refused(tmp_path):
    class Local(Module):
        pass

    with pytest.raises(ProgramError, match="cannot be imported by a worker: move it to a module of its own"):
        Local().save(tmp_path / "program.json")


def test_a_type_that_cannot_be_written_down_is_refused_by_name(tmp_path):
    class Shouted(Signature):
        """Shout it."""

        text: str = InputField()
        cry: Annotated[str, AfterValidator(str.upper)] = OutputField()

    with pytest.raises(SignatureError, match="field 'cry' of Shouted"):
        Predict(Shouted).save(tmp_path / "program.json")


def saved(tmp_path, **changes):
    path = tmp_path / "program.json"
    Predict(Triage).save(path)
    data = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(data))
    return path


def test_a_file_of_another_format_version_is_refused_never_guessed_at(tmp_path):
    with pytest.raises(ProgramError, match="has program format 2; this DSPEx reads format 1"):
        Module.load(saved(tmp_path, dspex_program=2))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is not a program file"),
        (b"{", "is not a program file"),
        (b"[1]", "it holds no JSON object"),
        (b'{"predict": {"demos": []}}', "no 'dspex_program' entry"),
        (b'{"dspex_program": 1}', "structure: Field required"),
        (b"\x80\x04\x95pickle", "it is not text"),
    ],
)
def test_a_file_that_is_no_program_is_refused_with_its_name(tmp_path, content, complaint):
    path = tmp_path / "odd.json"
    path.write_bytes(content)
    with pytest.raises(ProgramError) as caught:
        Module.load(path)
    assert str(path) in str(caught.value)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "kind", "complaint"),
    [
        ({"extra": 1}, ProgramError, "extra"),
        ({"state": {"predictors": {}}}, ProgramError, "the program's are self"),
        ({"structure": {"kind": "pickled"}}, ProgramError, "structure"),
        ({"structure": {"kind": "imported", "code": {"path": "os:system"}}}, ProgramError, "not a Module"),
        ({"structure": {"kind": "imported", "code": {"path": "os:sistem"}}}, ProgramError, "os:sistem"),
    ],
)
def test_what_does_not_fit_in_a_program_file_is_named(tmp_path, changes, kind, complaint):
    with pytest.raises(kind, match=complaint):
        Module.load(saved(tmp_path, **changes))


def test_an_unknown_built_in_module_is_named_with_those_there_are(tmp_path):
    structure = {"kind": "declared", "module": "predictt", "signature": Triage.to_spec().model_dump()}
    with pytest.raises(UnknownNameError, match="did you mean 'predict'"):
        Module.load(saved(tmp_path, structure=structure))


def test_a_missing_file_and_a_missing_folder_are_named(tmp_path):
    with pytest.raises(ProgramError, match=r"cannot read the program file .*none\.json: No such file"):
        Module.load(tmp_path / "none.json")
    with pytest.raises(ProgramError, match=r"cannot write the program to .*program\.json: No such file"):
        Predict(Triage).save(tmp_path / "no folder" / "program.json")


def test_a_program_is_replaced_in_one_step(tmp_path):
    path = tmp_path / "program.json"
    Predict(Triage).save(path)
    taught(Predict(Triage)).save(path)
    assert Module.load(path).get_state() == taught(Predict(Triage)).get_state()
    assert list(tmp_path.glob("program*")) == [path]


def test_several_may_save_to_one_file_at_once(tmp_path):
    path = tmp_path / "program.json"
    programs = [Predict("question -> answer"), ChainOfThought("question -> answer")]
    with ThreadPoolExecutor(2) as pool:
        for saved in [pool.submit(program.save, path) for _ in range(100) for program in programs]:
            saved.result()
    assert type(Module.load(path)) in (Predict, ChainOfThought)
    assert list(tmp_path.iterdir()) == [path]


def test_an_instance_named_by_path_is_built_anew_for_each_who_asks(their_app):
    from dspex_core.programs import ImportedProgram
    from dspex_core.references import reference_to

    reference = ImportedProgram(code=reference_to("their_app.programs:ready", what="program"))
    first, second = (build_program(reference, trust=["their_app"]) for _ in range(2))
    assert list(first.named_predictors()) == ["parts[0]", "parts[1]"]
    assert first is not second
    assert first is not their_app.ready
    assert first.reference() == reference
