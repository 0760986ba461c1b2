"""Compile a ticket router in this process: python triage.py --lm openai/gpt-4o-mini [--api-base URL]."""

import argparse
import asyncio
from pathlib import Path
from typing import Literal

from dspex_core import LM, ChainOfThought, Evaluate, Example, InputField, OutputField, Signature, using
from dspex_core.datasets import hold_out, read_rows
from dspex_core.optimizers import BootstrapFewShot

TICKETS = Path(__file__).with_name("tickets.csv")


class Triage(Signature):
    """Route a customer's message to the team that handles it."""

    message: str = InputField(desc="what the customer wrote")
    team: Literal["account", "billing", "bug", "feature_request", "security", "shipping"] = OutputField()


async def main(lm: LM, output: Path) -> None:
    examples = [Example(**row).with_inputs("message") for row in read_rows(TICKETS)]
    train, dev = hold_out(examples, seed=0)
    triage = ChainOfThought(Triage)
    with using(lm=lm):
        evaluate = Evaluate(dev, "exact_match", concurrency=16)
        before = await evaluate(triage)
        best = await BootstrapFewShot(metric="exact_match").compile(triage, trainset=train, valset=dev)
        after = await evaluate(best.program)
        prediction = await best.program(message="I paid for two boxes and got one. Money back or box, please.")
    best.program.save(output)
    print(f"{before.score:.1f} % -> {after.score:.1f} % on {len(dev)} messages; saved {output}")
    print(f"a new message goes to: {prediction.team}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lm", default="openai/gpt-4o-mini", help="provider/model; its key comes from the environment")
    parser.add_argument("--api-base", help="any server that speaks OpenAI's API; default: the provider's own")
    parser.add_argument("-o", "--output", type=Path, default=Path("triage.json"), help="where the program is saved")
    options = parser.parse_args()
    asyncio.run(main(LM(options.lm, api_base=options.api_base), options.output))
