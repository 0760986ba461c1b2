from pydantic import BaseModel, ConfigDict


class Trial(BaseModel):
    """A combination that was tried.

    Attributes:
        choices: The number of the choice in every dimension of the search space.
        score: How it did; higher is better.
    """

    model_config = ConfigDict(frozen=True)

    choices: dict[str, int]
    score: float
