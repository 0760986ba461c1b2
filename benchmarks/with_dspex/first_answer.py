import asyncio

from benchmarks._child import given, report
from benchmarks.with_dspex._triage import MODEL, Triage
from dspex_core import LM, Predict, using


async def main() -> None:
    with using(lm=LM(MODEL, api_base=given()["api_base"])):
        await Predict(Triage)(message="parcel 1 has not arrived")
    report()


if __name__ == "__main__":
    asyncio.run(main())
