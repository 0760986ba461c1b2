import contextlib
import hashlib
import os
import time
from pathlib import Path

from pydantic import BaseModel, ValidationError

from dspex_core.errors import ConfigurationError
from dspex_core.events import BreakerChanged
from dspex_core.home import home


class BreakerReport(BaseModel):
    """A circuit breaker of some process of this machine that is not closed.

    Attributes:
        process_id: Whose it is.
        at: Time of its last change, in seconds since 1970.
        change: That change.
    """

    process_id: int
    at: float
    change: BreakerChanged


def report_breaker(change: BreakerChanged) -> None:
    """Leave word of a breaker's state for `dspex doctor`, which runs in another process."""
    name = hashlib.sha256(f"{change.model} {change.endpoint}".encode()).hexdigest()[:16]
    with contextlib.suppress(OSError, ConfigurationError):
        file = _folder() / f"{os.getpid()}-{name}.json"
        if change.state == "closed":
            file.unlink(missing_ok=True)
            return
        file.parent.mkdir(exist_ok=True)
        report = BreakerReport(process_id=os.getpid(), at=time.time(), change=change)
        # Renamed into place, so that nobody reads half of it.
        written = file.with_suffix(".new")
        written.write_text(report.model_dump_json(), encoding="utf-8")
        written.replace(file)


def broken_models() -> list[BreakerReport]:
    """Breakers of living processes that are not closed; words left by dead ones are removed."""
    found: list[BreakerReport] = []
    for file in sorted(_folder().glob("*.json")):
        with contextlib.suppress(OSError, ValidationError):
            report = BreakerReport.model_validate_json(file.read_text(encoding="utf-8"))
            if _lives(report.process_id):
                found.append(report)
            else:
                file.unlink(missing_ok=True)
    return found


def _folder() -> Path:
    return home() / "breakers"


def _lives(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
