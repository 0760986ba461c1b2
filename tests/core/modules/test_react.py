import importlib
from pathlib import Path

import pytest
from aiohttp import web
from model_servers import lm_of, values_in, written

from dspex_core import Example, Module, ReAct, Tool, using
from dspex_core.errors import LMContextLengthError, ProgramError, ToolError, TrustError
from dspex_core.modules import build_program
from dspex_core.optimizers import BootstrapFewShot
from dspex_core.programs import DeclaredProgram

FIELDS = "question -> answer"
TOO_LONG = {
    "error": {"message": "This model's maximum context length is 8192 tokens.", "code": "context_length_exceeded"}
}


@pytest.fixture
def desk(monkeypatch):
    """A user's module of tools, with a script that calls them."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "user_code")
    return importlib.import_module("desk_app")


@pytest.fixture
def solve(start_provider, desk):
    """Runs an agent on the desk's question, with a model that follows a script."""

    async def run(agent, script, **inputs):
        with using(lm=lm_of(start_provider(script=script))):
            return await agent(question=desk.QUESTION, **inputs)

    return run


async def test_an_agent_with_two_tools_solves_a_task(solve, desk):
    prediction = await solve(ReAct(FIELDS, [desk.lookup, desk.calculator]), desk.SCRIPT)
    assert prediction.answer == "117 million"
    assert prediction.reasoning == "The sum was calculated."
    assert prediction.trajectory == desk.TRAJECTORY
    assert prediction.usage.lm_calls == 5


def test_an_agent_runs_from_synchronous_code(start_provider, desk):
    agent = ReAct(FIELDS, ["desk_app:lookup", Tool(desk.calculator)])
    with using(lm=lm_of(start_provider(script=desk.SCRIPT))):
        assert agent.run(question=desk.QUESTION).trajectory == desk.TRAJECTORY


@pytest.mark.parametrize(
    "case",
    [
        ("lookup", {"country": "Atlantis"}, "lookup failed: KeyError: 'Atlantis'"),
        ("lookup", {"town": "Paris"}, "'country' is missing; there is no argument 'town'"),
        ("impatient", {}, "hang failed: no result within 0.05 s"),
    ],
)
async def test_a_tool_that_fails_is_an_observation_and_the_run_goes_on(case, solve, desk):
    tool, args, said = case
    agent = ReAct(FIELDS, [getattr(desk, tool)])
    name = next(iter(agent.tools))
    script = [desk.FINAL, desk.step("observation_0", "finish", {}), desk.step("", name, args)]
    prediction = await solve(agent, script)
    assert said in prediction.trajectory["observation_0"]
    assert prediction.trajectory["tool_name_1"] == "finish"
    assert prediction.answer == "117 million"


async def test_a_tool_that_does_not_exist_is_an_observation(solve, desk):
    wrong = desk.step("", "oracle", {"q": 1}, thought="ask it")
    again = {"when": "That answer cannot be read", "answer": wrong["answer"]}
    prediction = await solve(
        ReAct(FIELDS, [desk.lookup]), [desk.FINAL, desk.step("observation_0", "finish", {}), wrong, again]
    )
    trajectory = prediction.trajectory
    assert (trajectory["thought_0"], trajectory["tool_name_0"]) == ("ask it", "oracle")
    assert "The tools are lookup, finish" in trajectory["observation_0"]
    assert trajectory["tool_name_1"] == "finish"
    assert prediction.answer == "117 million"


async def test_an_answer_that_is_no_step_is_an_observation_and_most_steps_hold(start_model, desk):
    model = start_model(lambda messages: written(reasoning="-", answer="?") if "reasoning" in str(messages) else "hm")
    with using(lm=lm_of(model)):
        prediction = await ReAct(FIELDS, [desk.lookup], max_iters=2)(question="?")
    assert "output field 'next_thought' is missing" in prediction.trajectory["observation_1"]
    assert prediction.answer == "?"


async def test_after_the_most_steps_the_outputs_are_made_of_what_is_known(solve, desk):
    script = [desk.FINAL, desk.step("", "lookup", {"country": "France"})]
    prediction = await solve(ReAct(FIELDS, [desk.lookup], max_iters=2), script)
    assert [key for key in prediction.trajectory if key.startswith("tool_name")] == ["tool_name_0", "tool_name_1"]
    assert prediction.answer == "117 million"
    shorter = await solve(ReAct(FIELDS, [desk.lookup]), script, max_iters=1)
    assert "thought_1" not in shorter.trajectory


def forgetful(most_steps, seen):
    """A model whose context holds so many steps; it looks six countries up and answers with the steps it sees."""

    def answer(messages):
        asked = messages[-1]["content"]
        shown = [name for name in values_in(asked) if name.startswith("observation_")]
        if len(shown) > most_steps:
            return web.json_response(TOO_LONG, status=400)
        seen.append(shown)
        if "`[[ ## reasoning ## ]]`" in asked:
            return written(reasoning="-", answer="done")
        taken = int(shown[-1].rpartition("_")[2]) + 1 if shown else 0
        name = "finish" if taken == 6 else "lookup"
        return written(next_thought="-", next_tool_name=name, next_tool_args='{"country": "Spain"}')

    return answer


async def test_the_oldest_steps_go_when_the_context_is_full_and_the_prediction_has_all(start_model, desk):
    seen = []
    agent = ReAct(FIELDS, [desk.lookup])
    with using(lm=lm_of(start_model(forgetful(3, seen)))):
        prediction = await agent(question="?")
    assert prediction.answer == "done"
    assert "observation_0" in prediction.trajectory
    assert prediction.trajectory["tool_name_6"] == "finish"
    assert seen[3] == ["observation_0", "observation_1", "observation_2"]
    assert seen[4] == ["observation_1", "observation_2", "observation_3"]
    assert seen[-1][-1] == "observation_6"


async def test_an_observation_that_alone_fills_the_context_is_cut(start_model):
    def read() -> str:
        return "word " * 10_000

    def answer(messages):
        asked = messages[-1]["content"]
        if len(asked) > 8_000:
            return web.json_response(TOO_LONG, status=400)
        if "`[[ ## reasoning ## ]]`" in asked:
            return written(reasoning="-", answer=asked.partition("… (")[2].partition(")")[0])
        return written(
            next_thought="-", next_tool_name="finish" if "observation_0" in asked else "read", next_tool_args="{}"
        )

    with using(lm=lm_of(start_model(answer))):
        prediction = await ReAct(FIELDS, [read])(question="?")
    assert prediction.trajectory["observation_0"] == "word " * 10_000
    assert prediction.answer == "43750 more characters are not shown"


async def test_a_context_that_holds_no_step_at_all_is_said(start_model, desk):
    with using(lm=lm_of(start_model(forgetful(0, [])))), pytest.raises(LMContextLengthError, match="8192 tokens"):
        await ReAct(FIELDS, [desk.lookup])(question="?")


def test_its_predictors_go_by_dspys_names(desk):
    agent = ReAct("question, year: int -> answer: float", [desk.lookup, desk.calculator])
    predictors = agent.named_predictors()
    assert list(predictors) == ["react", "extract.predict"]
    react, extract = (predictor.signature for predictor in predictors.values())
    assert list(react.model_fields) == [
        "question", "year", "trajectory", "next_thought", "next_tool_name", "next_tool_args",
    ]  # fmt: skip
    assert list(extract.model_fields) == ["question", "year", "trajectory", "reasoning", "answer"]
    assert '"country": {"description": "Its English name.", "type": "string"}' in react.instructions


async def test_a_saved_agent_is_the_same_when_loaded(solve, desk, tmp_path):
    agent = ReAct(FIELDS, [desk.lookup, desk.calculator, desk.decorated, desk.impatient], max_iters=7)
    agent.save(tmp_path / "agent.json")
    loaded = Module.load(tmp_path / "agent.json", trust=["desk_app"])
    assert loaded.max_iters == 7
    assert loaded.tools["hang"].timeout_seconds == 0.05
    assert loaded.get_state() == agent.get_state()
    assert loaded.reference() == agent.reference()
    assert (await solve(loaded, desk.SCRIPT)).trajectory == desk.TRAJECTORY
    assert await loaded.tools["decorated"](text="hey") == "HEY"
    with pytest.raises(TrustError, match="does not trust the package 'desk_app'"):
        Module.load(tmp_path / "agent.json", trust=["other"])


async def test_a_declared_agent_needs_its_tools_only_where_they_are_called(desk):
    reference = ReAct(FIELDS, [desk.lookup]).reference()
    elsewhere = build_program(reference, trust=(), import_tools=False)
    assert elsewhere.reference() == reference
    with pytest.raises(ProgramError, match="tool lookup was not imported"):
        await elsewhere.tools["lookup"](country="Spain")
    with pytest.raises(TrustError):
        build_program(reference, trust=())


def test_tools_that_live_in_this_process_only_are_named_before_anything_is_saved_or_run(tmp_path):
    def here(text: str) -> str:
        return text

    with pytest.raises(ProgramError, match="tool here works in this process only"):
        ReAct(FIELDS, [here]).reference()
    with pytest.raises(ProgramError, match="tool here works in this process only"):
        ReAct(FIELDS, [here]).save(tmp_path / "agent.json")


def test_what_cannot_be_an_agent_is_refused(desk):
    with pytest.raises(ToolError, match="two tools named 'lookup'"):
        ReAct(FIELDS, [desk.lookup, desk.lookup])
    with pytest.raises(ToolError, match="two tools named 'finish'"):
        ReAct(FIELDS, [Tool(desk.lookup, name="finish")])
    with pytest.raises(ProgramError, match="field name 'trajectory'"):
        ReAct("trajectory -> answer", [desk.lookup])
    with pytest.raises(ProgramError, match="max_iters is 0"):
        ReAct(FIELDS, [desk.lookup], max_iters=0)
    declared = ReAct(FIELDS, [desk.lookup]).reference()
    with pytest.raises(
        ProgramError, match=r"options of a declared react cannot be used: tools\.0\.desc: Field required"
    ):
        build_program(declared.model_copy(update={"options": {"tools": [{"name": "x"}]}}), trust=None)
    with pytest.raises(ProgramError, match="without its signature"):
        build_program(DeclaredProgram(module="react", options=declared.options), trust=None)


async def test_an_agent_learns_from_its_own_successful_runs(start_provider, desk):
    agent = ReAct(FIELDS, [desk.lookup, desk.calculator])
    row = Example(question=desk.QUESTION, answer="117 million").with_inputs("question")
    optimizer = BootstrapFewShot(metric="exact_match", max_labeled_demos=0)
    with using(lm=lm_of(start_provider(script=desk.SCRIPT))):
        best = await optimizer.compile(agent, trainset=[row], valset=[row])
    assert best.baseline_score == 100
    demos = best.candidates[-1].state.predictors["react"].demos
    assert [demo["next_tool_name"] for demo in demos] == ["lookup", "lookup", "calculator", "finish"][-len(demos) :]


async def test_a_misspelt_input_is_named_with_what_the_agent_takes():
    with pytest.raises(ProgramError, match=r"no input 'questoin'; did you mean 'question'\? \w+ takes question$"):
        await ReAct(FIELDS, [])(questoin="Who?")
