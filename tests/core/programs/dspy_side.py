"""What DSPy does with a state, in its own environment: reads a job from standard input, writes what came of it."""

import json
import sys
from typing import Literal

import dspy

TEAMS = Literal["account", "billing", "bug", "shipping"]


class Triage(dspy.Signature):
    """Route a customer's message to the team that handles it."""

    message: str = dspy.InputField(desc="what the customer wrote")
    team: TEAMS = dspy.OutputField()


class TwoSteps(dspy.Module):
    def __init__(self):
        super().__init__()
        self.condense = dspy.Predict("message -> topic, words: list[str]")
        self.route = dspy.ChainOfThought(dspy.Signature("message, topic -> team", Triage.instructions))

    def forward(self, message):
        found = self.condense(message=message)
        return self.route(message=message, topic=found.topic)


class Searching(dspy.Module):
    def __init__(self):
        super().__init__()
        self.parts = [dspy.Retrieve(k=2), dspy.ChainOfThought("context: list[str], question -> answer")]


def look_up(word: str) -> str:
    """What a word means."""
    return f"{word} means something"


PROGRAMS = {
    "predict": lambda: dspy.Predict(Triage),
    "chain_of_thought": lambda: dspy.ChainOfThought(Triage),
    "react": lambda: dspy.ReAct(Triage, tools=[look_up]),
    "two_steps": TwoSteps,
    "searching": Searching,
}


def exact_match(example, prediction, trace=None):
    return example.team == prediction.team


def main():
    job = json.load(sys.stdin)
    program = PROGRAMS[job["program"]]()
    with dspy.context(
        lm=dspy.LM(job["model"], api_base=job["api_base"], api_key="unused", temperature=0.0, cache=False)
    ):
        if job["do"] == "compile":
            train = [dspy.Example(row).with_inputs("message") for row in job["rows"]]
            options = {"max_bootstrapped_demos": 2, "max_labeled_demos": 4}
            program = dspy.BootstrapFewShot(metric=exact_match, **options).compile(program, trainset=train)
        else:
            program.load(job["path"], allow_unsafe_lm_state=True)
        if job.get("save_to"):
            program.save(job["save_to"])
        answer = program(**job["inputs"]).toDict() if job.get("inputs") else None
    sys.stdout.write(f"\n{json.dumps(answer)}\n")


if __name__ == "__main__":
    main()
