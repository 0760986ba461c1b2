# pyright: basic, reportMissingImports=false
"""A program of two predictors, as its author wrote it with DSPy; both sides compile this very class."""

from typing import Any, Literal

import dspy


class TwoSteps(dspy.Module):
    """Says first what a text is about in a few words, and then which label it has."""

    def __init__(self, data: dict[str, Any]) -> None:
        super().__init__()
        self.name = data["input"]
        fields = {
            data["input"]: (str, dspy.InputField()),
            "gist": (str, dspy.InputField(desc="what it is about")),
            data["output"]: (Literal[tuple(data["labels"])], dspy.OutputField()),
        }
        self.gist = dspy.Predict(f"{data['input']} -> gist")
        self.label = dspy.Predict(dspy.Signature(fields, data["instructions"]))

    def forward(self, **inputs: Any) -> Any:
        """The label, by way of the gist."""
        return self.label(gist=self.gist(**inputs).gist, **inputs)
