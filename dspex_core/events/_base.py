from datetime import datetime

from pydantic import BaseModel, ConfigDict


class EventModel(BaseModel):
    """What every event is: a small frozen value.

    Attributes:
        run_id: The durable run whose log it is from.
        offset: Its place in that log, from 0 on. An event of a durable run that has none is not in the log: it was
            found out by looking, and tells of what has changed since by the next look.
        at: When it happened, if it is in a log.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str | None = None
    offset: int | None = None
    at: datetime | None = None
