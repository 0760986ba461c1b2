import importlib
from pathlib import Path

import pytest
from aiohttp import web
from model_servers import lm_of, values_in, written

from dspex_core import CodeAct, Module, ProgramOfThought, Tool, using
from dspex_core.errors import LMContextLengthError, ProgramError, ToolError, TrustError
from dspex_core.modules import build_program
from dspex_core.optimizers import BootstrapFewShot
from dspex_core.record import Example

FIELDS = "question -> answer"
TOO_LONG = {
    "error": {"message": "This model's maximum context length is 8192 tokens.", "code": "context_length_exceeded"}
}


@pytest.fixture
def coder(monkeypatch):
    """A user's module with the scripts of models that write code."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "user_code")
    return importlib.import_module("coder_app")


@pytest.fixture
def solve(start_provider, coder):
    """Runs a program on the coder's question, with a model that follows a script."""

    async def run(program, script, **inputs):
        with using(lm=lm_of(start_provider(script=script))):
            return await program(question=coder.QUESTION, **inputs)

    return run


async def test_an_agent_solves_a_task_with_code_that_calls_tools_and_builds_on_earlier_code(solve, coder):
    prediction = await solve(CodeAct(FIELDS, [coder.population]), coder.SCRIPT)
    assert prediction.answer == "117 million"
    assert prediction.reasoning == "The sum was printed."
    assert prediction.trajectory == coder.TRAJECTORY
    assert prediction.usage.lm_calls == 4


def test_an_agent_runs_from_synchronous_code(start_provider, coder):
    agent = CodeAct(FIELDS, ["coder_app:population"])
    with using(lm=lm_of(start_provider(script=coder.SCRIPT))):
        assert agent.run(question=coder.QUESTION).trajectory == coder.TRAJECTORY


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("population('Atlantis')", "RuntimeError: population failed: KeyError: 'Atlantis'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("open('/etc/passwd')", "PermissionError"),
        ("x = [0] * 10 ** 10", "MemoryError: the code needed more than"),
        ("this is no Python", "SyntaxError"),
        ("```python\n```", "There is no code in this step."),
    ],
)
async def test_code_that_fails_is_an_observation_and_ends_nothing(code, said, solve, coder):
    script = [coder.FINAL, coder.step("observation_0", "print('mended')"), coder.step("", code)]
    prediction = await solve(CodeAct(FIELDS, [coder.population]), script)
    assert said in prediction.trajectory["observation_0"]
    assert prediction.trajectory["code_output_1"] == "mended"
    assert prediction.answer == "117 million"


async def test_a_step_that_cannot_be_read_is_an_observation_and_most_steps_hold(start_model, coder):
    model = start_model(
        lambda messages: written(reasoning="-", answer="?") if "`[[ ## reasoning" in str(messages) else "hm"
    )
    with using(lm=lm_of(model)):
        prediction = await CodeAct(FIELDS, [], max_iters=2)(question="?")
    assert "cannot be carried out: " in prediction.trajectory["observation_1"]
    assert "observation_2" not in prediction.trajectory
    assert prediction.answer == "?"


async def test_fences_around_code_are_no_code(solve, coder):
    script = [coder.FINAL, coder.step("", "I will add.\n```python\nx = 1 + 1\n```\nand\n```\nprint(x)\n```\n")]
    prediction = await solve(CodeAct(FIELDS, []), script, max_iters=1)
    assert prediction.trajectory == {"generated_code_0": "x = 1 + 1\n\nprint(x)", "code_output_0": "2"}


async def test_the_oldest_steps_go_when_the_context_is_full(start_model):
    seen = []

    def answer(messages):
        asked = messages[-1]["content"]
        shown = [name for name in values_in(asked) if name.startswith("code_output_")]
        if len(shown) > 2:
            return web.json_response(TOO_LONG, status=400)
        seen.append(shown)
        if "`[[ ## reasoning ## ]]`" in asked:
            return written(reasoning="-", answer="done")
        taken = int(shown[-1].rpartition("_")[2]) + 1 if shown else 0
        return written(generated_code=f"print({taken})", finished=taken == 4)

    with using(lm=lm_of(start_model(answer))):
        prediction = await CodeAct(FIELDS, [])(question="?")
    assert prediction.answer == "done"
    assert prediction.trajectory["code_output_0"] == "0"
    assert seen[-1] == ["code_output_3", "code_output_4"]


def test_predictors_and_fields_go_by_dspys_names(coder):
    agent = CodeAct("question, year: int -> answer: float", [coder.population])
    assert {name: list(predictor.signature.model_fields) for name, predictor in agent.named_predictors().items()} == {
        "codeact": ["question", "year", "trajectory", "generated_code", "finished"],
        "extractor.predict": ["question", "year", "trajectory", "reasoning", "answer"],
    }
    assert "(1) population: Look up how many people live in a country" in agent.codeact.signature.instructions
    program = ProgramOfThought("question -> answer: float")
    assert {name: list(predictor.signature.model_fields) for name, predictor in program.named_predictors().items()} == {
        "code_generate.predict": ["question", "reasoning", "generated_code"],
        "code_regenerate.predict": ["question", "previous_code", "error", "reasoning", "generated_code"],
        "generate_output.predict": ["question", "final_generated_code", "code_output", "reasoning", "answer"],
    }


async def test_a_program_of_thought_answers_with_what_its_program_found(solve, coder):
    prediction = await solve(ProgramOfThought(FIELDS), coder.PROGRAM_SCRIPT)
    assert prediction.answer == "117 million"
    assert prediction.trajectory == coder.PROGRAM_TRAJECTORY
    assert prediction.usage.lm_calls == 3


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print([0] * 10 ** 10)", "MemoryError"),
        ("x = 5", "The program showed nothing: print the result."),
        ("", "There is no code in this answer."),
    ],
)
async def test_when_no_program_works_the_last_failure_is_what_the_answer_is_made_of(code, said, start_model):
    def answer(messages):
        given = values_in(messages[-1]["content"])
        if "code_output" in given:
            return written(reasoning="-", answer=given["code_output"])
        return written(reasoning="-", generated_code=code)

    with using(lm=lm_of(start_model(answer))):
        prediction = await ProgramOfThought(FIELDS, max_iters=2)(question="?")
    assert said in prediction.answer
    assert said in prediction.trajectory["observation_1"]
    assert "observation_2" not in prediction.trajectory


async def test_a_result_may_be_handed_to_submit_as_dspys_prompts_say(solve, coder):
    script = [
        {"when": "`[[ ## answer ## ]]`", "answer": {"reasoning": "-", "answer": "it"}},
        {"when": "", "answer": {"reasoning": "-", "generated_code": "SUBMIT({'answer': 3})\nSUBMIT(answer=4)"}},
    ]
    prediction = await solve(ProgramOfThought(FIELDS), script)
    assert prediction.trajectory["code_output_0"] == "{'answer': 3}\n{'answer': 4}"


async def test_an_output_that_alone_fills_the_context_is_cut(start_model):
    def answer(messages):
        asked = messages[-1]["content"]
        if len(asked) > 6_000:
            return web.json_response(TOO_LONG, status=400)
        if "code_output" in values_in(asked):
            return written(reasoning="-", answer=asked.partition("… (")[2].partition(")")[0])
        return written(reasoning="-", generated_code="print('x' * 10_000)")

    with using(lm=lm_of(start_model(answer))):
        prediction = await ProgramOfThought(FIELDS)(question="?")
    assert prediction.answer == "5000 more characters are not shown"

    def never(messages):
        if "code_output" in values_in(messages[-1]["content"]):
            return web.json_response(TOO_LONG, status=400)
        return written(reasoning="-", generated_code="print('x' * 10_000)")

    with using(lm=lm_of(start_model(never))), pytest.raises(LMContextLengthError):
        await ProgramOfThought(FIELDS)(question="?")


async def test_saved_programs_are_the_same_when_loaded(solve, coder, tmp_path):
    agent = CodeAct(FIELDS, [coder.population], max_iters=4)
    agent.save(tmp_path / "agent.json")
    loaded = Module.load(tmp_path / "agent.json", trust=["coder_app"])
    assert loaded.max_iters == 4
    assert loaded.get_state() == agent.get_state()
    assert loaded.reference() == agent.reference()
    assert (await solve(loaded, coder.SCRIPT)).trajectory == coder.TRAJECTORY
    with pytest.raises(TrustError, match="does not trust the package 'coder_app'"):
        Module.load(tmp_path / "agent.json", trust=["other"])
    program = ProgramOfThought(FIELDS, max_iters=2)
    program.save(tmp_path / "program.json")
    again = Module.load(tmp_path / "program.json", trust=[])
    assert (again.max_iters, again.reference()) == (2, program.reference())
    assert (await solve(again, coder.PROGRAM_SCRIPT)).trajectory == coder.PROGRAM_TRAJECTORY


def test_what_cannot_be_such_a_program_is_refused(coder):
    with pytest.raises(ToolError, match="two tools named 'population'"):
        CodeAct(FIELDS, [coder.population, coder.population])
    for name in ("pop-ulation", "class", "print"):
        with pytest.raises(ToolError, match=f"code cannot call a tool by the name '{name}'"):
            CodeAct(FIELDS, [Tool(coder.population, name=name)])
    with pytest.raises(ProgramError, match="CodeAct needs the field name 'finished'"):
        CodeAct("finished -> answer", [])
    with pytest.raises(ProgramError, match="ProgramOfThought needs the field name 'error'"):
        ProgramOfThought("error -> answer")
    with pytest.raises(ProgramError, match="max_iters is 0"):
        ProgramOfThought(FIELDS, max_iters=0)
    declared = ProgramOfThought(FIELDS).reference()
    with pytest.raises(ProgramError, match="options of a declared program_of_thought cannot be used: max_iters"):
        build_program(declared.model_copy(update={"options": {"max_iters": "many"}}), trust=None)


async def test_an_agent_learns_from_its_own_successful_runs(start_provider, coder):
    agent = CodeAct(FIELDS, [coder.population])
    row = Example(question=coder.QUESTION, answer="117 million").with_inputs("question")
    optimizer = BootstrapFewShot(metric="exact_match", max_labeled_demos=0)
    with using(lm=lm_of(start_provider(script=coder.SCRIPT))):
        best = await optimizer.compile(agent, trainset=[row], valset=[row])
    assert best.baseline_score == 100
    demos = best.candidates[-1].state.predictors["codeact"].demos
    assert demos[-1]["generated_code"] in coder.CODE
