# pyright: basic, reportMissingImports=false
import dspy

from benchmarks._child import given, report
from benchmarks.with_dspy._triage import MODEL, Triage


def main() -> None:
    with dspy.context(lm=dspy.LM(MODEL, api_base=given()["api_base"])):
        dspy.Predict(Triage)(message="parcel 1 has not arrived")
    report()


if __name__ == "__main__":
    main()
