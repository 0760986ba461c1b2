from dspex_core import BestOfN, ChainOfThought, CodeAct, Module, Pipeline, Predict, ProgramOfThought, ReAct, Refine
from dspex_core.modules import KNNFewShotProgram, calls_in_a_run


def rewarded(inputs, prediction):
    return 1.0


def test_every_part_is_called_once_unless_it_says_otherwise():
    assert calls_in_a_run(Predict("a -> b")) == {"self": (1, 1)}
    pipeline = Pipeline([Predict("a -> b"), ChainOfThought("b -> c")])
    assert set(calls_in_a_run(pipeline).values()) == {(1, 1)}


def test_agents_loop_as_often_as_they_may():
    assert calls_in_a_run(ReAct("a -> b", [], max_iters=7)) == {"react": (1, 7), "extract.predict": (1, 1)}
    assert calls_in_a_run(CodeAct("a -> b", [], max_iters=3))["codeact"] == (1, 3)
    tries = calls_in_a_run(ProgramOfThought("a -> b", max_iters=4))
    assert tries == {
        "code_generate.predict": (1, 1),
        "code_regenerate.predict": (0, 3),
        "generate_output.predict": (1, 1),
    }


def test_tries_multiply_what_is_within_them():
    inner = ReAct("a -> b", [], max_iters=4)
    best = calls_in_a_run(BestOfN(inner, 3, rewarded, threshold=1.0))
    assert best == {"module.react": (1, 12), "module.extract.predict": (1, 3)}
    assert calls_in_a_run(Refine(Predict("a -> b"), 3, rewarded, threshold=1.0)) == {"module": (1, 5)}


def test_demos_chosen_for_each_call_may_have_to_be_run_first():
    program, where = Predict("a -> b"), "my_app.data:nearest"
    assert calls_in_a_run(KNNFewShotProgram(program, where)) == {"module": (1, 5)}
    taught = calls_in_a_run(KNNFewShotProgram(program, where, teacher=Predict("a -> b")))
    assert taught == {"module": (1, 1), "teacher": (0, 4)}


def test_parts_in_lists_and_dictionaries_are_found():
    class Branching(Module):
        def __init__(self):
            self.branches = {"x.y": ReAct("a -> b", [], max_iters=2), "z": Predict("a -> b")}
            self.steps = [Predict("a -> b"), ReAct("b -> c", [], max_iters=5)]

    calls = calls_in_a_run(Branching())
    assert calls["steps[1].react"] == (1, 5)
    assert calls["branches['z']"] == (1, 1)
    assert calls["branches['x.y'].react"] == (1, 2)
