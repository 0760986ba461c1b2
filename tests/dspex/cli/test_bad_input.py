"""What cannot be used is refused in one line that names the culprit, before anything is paid for."""

import asyncio
import json

import pytest

pytestmark = pytest.mark.slow

AT_ONCE = 4
ROWS = '{"text": "my card is lost", "label": "card"}\n{"text": "I forgot my PIN", "label": "pin"}\n'
FILES = {
    "good.jsonl": ROWS * 5,
    "empty.jsonl": "",
    "malformed.jsonl": ROWS + "{not json\n",
    "malformed.csv": "text,label\na,b\nc,d,e\n",
    "one-label.jsonl": '{"text": "a", "label": "same"}\n{"text": "b", "label": "same"}\n',
    "other-version.json": '{"dspex_program": 99, "structure": {}, "state": {}}',
    "no-program.json": '{"hello": 1}',
}
TASK = ("compile", "--input", "text", "--output", "label")
GOOD = (*TASK, "--train", "good.jsonl")
RUN_PROGRAM = ("--program", "other-version.json")

CASES = {
    "a missing file": ((*TASK, "--train", "god.jsonl"), {}, ["god.jsonl", "did you mean good.jsonl"]),
    "a missing validation file": ((*GOOD, "--val", "gone.csv"), {}, ["gone.csv", "no such file"]),
    "an empty file": ((*TASK, "--train", "empty.jsonl"), {}, ["empty.jsonl", "empty"]),
    "a malformed JSON line": ((*TASK, "--train", "malformed.jsonl"), {}, ["malformed.jsonl", "line 3"]),
    "a malformed CSV line": ((*TASK, "--train", "malformed.csv"), {}, ["malformed.csv", "line 3"]),
    "an unknown column": ((*GOOD, "--input", "txt"), {}, ["good.jsonl", "'txt'", "text"]),
    "a label with one value": ((*TASK, "--train", "one-label.jsonl"), {}, ["one-label.jsonl", "'label'", "same"]),
    "folds beside a validation set": ((*GOOD, "--val", "good.jsonl", "--folds", "3"), {}, ["--folds", "--val"]),
    "more folds than rows": ((*GOOD, "--folds", "30"), {}, ["30 folds", "10 training rows"]),
    "an unknown optimizer": ((*GOOD, "--optimizer", "bootstrap"), {}, ["'bootstrap'", "bootstrap_few_shot"]),
    "an unknown metric": ((*GOOD, "--metric", "exactmatch"), {}, ["'exactmatch'", "did you mean 'exact_match'"]),
    "an unknown module": ((*GOOD, "--module", "predikt"), {}, ["'predikt'", "did you mean 'predict'"]),
    "an unknown option": ((*GOOD, "--set", "max_round=2"), {}, ["'max_round'", "did you mean 'max_rounds'"]),
    "an option of a wrong type": ((*GOOD, "--set", "max_rounds=many"), {}, ["max_rounds"]),
    "an optimizer for Python alone": ((*GOOD, "--optimizer", "knn_few_shot"), {}, ["in Python, await KNNFewShot(3"]),
    "an optimizer of one's own": ((*GOOD, "--optimizer", "my_app:Mine"), {}, ["my_app:Mine", "cannot be imported"]),
    "a command that is none": (("compiel",), {}, ["'compiel'", "--help"]),
    "a command without its argument": (("runs", "show"), {}, ["'ID'", "runs show --help"]),
    "a number that is none": ((*GOOD, "--seed", "many"), {}, ["'--seed'", "compile --help"]),
    "a run to go on from without its name": ((*GOOD, "--resume"), {}, ["--resume needs --id"]),
    "another way to end than there is": ((*GOOD, "--on-limit", "stop"), {}, ["'stop'", "finish, park"]),
    "a metric that is no function": ((*GOOD, "--metric", "shop_app:__name__"), {}, ["shop_app:__name__ is a str"]),
    "an option without a value": ((*GOOD, "--set", "max_rounds"), {}, ["'max_rounds'", "key=value"]),
    "no output column": (("compile", "--train", "good.jsonl", "--input", "text"), {}, ["--output"]),
    "a signature that cannot be read": ((*GOOD, "--signature", "text label"), {}, ["text label"]),
    "a metric that cannot be imported": ((*GOOD, "--metric", "no_app:metric"), {}, ["no_app:metric"]),
    "a program without its attribute": ((*GOOD, "--program", "shop_app:roter"), {}, ["shop_app:roter"]),
    "no API key": (GOOD, {"OPENAI_API_KEY": None}, ["OPENAI_API_KEY"]),
    "an unreachable api-base": ((*GOOD, "--api-base", "http://127.0.0.1:1/v1"), {}, ["127.0.0.1:1"]),
    "an api-base that is no address": ((*GOOD, "--api-base", "localhost"), {}, ["'localhost'"]),
    "an unknown provider": ((*GOOD, "--lm", "gpt-4o"), {}, ["'gpt-4o'", "provider/model"]),
    "no concurrency": ((*GOOD, "--concurrency", "0"), {}, ["concurrency"]),
    "an unreachable server": (GOOD, {"TEMPORAL_ADDRESS": "127.0.0.1:1"}, ["127.0.0.1:1", "TEMPORAL_ADDRESS"]),
    "an unknown Temporal namespace": (GOOD, {"TEMPORAL_NAMESPACE": "nowhere"}, ["nowhere"]),
    "a folder that is not there": ((*GOOD, "-o", "gone/p.json"), {}, ["gone/p.json"]),
    "a worker without a server": (("worker",), {"TEMPORAL_ADDRESS": None, "DSPEX_HOME": "alone"}, ["dspex up"]),
    "a program of another version": (("predict", *RUN_PROGRAM, "text=a"), {}, ["other-version.json", "99"]),
    "the same for eval": (("eval", *RUN_PROGRAM, "--data", "good.jsonl"), {}, ["other-version.json", "99"]),
    "a file that is no program": (("predict", "--program", "no-program.json", "text=a"), {}, ["no-program.json"]),
    "an unknown run": (("runs", "show", "no-such-run"), {}, ["'no-such-run'"]),
    "an unknown run to watch": (("runs", "watch", "no-such-run"), {}, ["'no-such-run'"]),
    "an unknown run to export": (("runs", "export", "no-such-run", "-o", "p.json"), {}, ["'no-such-run'"]),
    "an unknown fault kind": (("fake-provider", "--fault-kinds", "509"), {}, ["'509'"]),
    "an unknown log level": (("worker",), {"DSPEX_LOG_LEVEL": "LOUD"}, ["LOUD"]),
}


async def test_bad_input_is_refused_in_one_line_that_names_it(dspex, model, platform, folder):
    for name, content in FILES.items():
        (folder / name).write_text(content)
    slots = asyncio.Semaphore(AT_ONCE)
    before = platform.provider.stats().requests

    async def refused(arguments, variables):
        needs_model = arguments[0] in ("compile", "eval", "predict")
        given = [*(model if needs_model else ()), *arguments[1:]]
        async with slots:
            return await dspex(arguments[0], *given, **variables)

    done = await asyncio.gather(*(refused(arguments, variables) for arguments, variables, _ in CASES.values()))
    wrong = {
        case: (finished.code, finished.err)
        for finished, (case, (_, _, culprits)) in zip(done, CASES.items(), strict=True)
        if not is_one_clear_line(finished, culprits)
    }
    assert not wrong, json.dumps(wrong, indent=1)
    assert platform.provider.stats().requests == before, "nothing is asked of a model before all is checked"


def is_one_clear_line(finished, culprits):
    return (
        finished.code == 2
        and finished.out == ""
        and len(finished.lines) == 1
        and finished.err.startswith("error: ")
        and all(culprit in finished.err for culprit in culprits)
    )
