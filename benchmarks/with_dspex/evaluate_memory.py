import asyncio

from benchmarks._child import given, peak_mib, report
from benchmarks.with_dspex._triage import Triage
from benchmarks.with_dspex.predict_call import Canned
from dspex_core import Evaluate, Predict, using
from dspex_core.datasets import DataFile


async def main() -> None:
    options = given()
    evaluate = Evaluate(DataFile(options["path"], inputs=["message"]), "exact_match")
    with using(runtime=Canned()):
        result = await evaluate(Predict(Triage))
    report(peak_mib=peak_mib(), rows=len(result.scores))


if __name__ == "__main__":
    asyncio.run(main())
