from pydantic import BaseModel, ConfigDict


class EventModel(BaseModel):
    """What every event is: a small frozen value."""

    model_config = ConfigDict(frozen=True)
