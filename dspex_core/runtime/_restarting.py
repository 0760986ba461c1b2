from typing import Any

from dspex_core.modules import Module
from dspex_core.record import Prediction
from dspex_core.seam import ENDS_ALIKE, rolled_out


async def with_restarts(part: Module, inputs: dict[str, Any], *, tries: int) -> Prediction:
    """Run a part; where it fails, again as a fresh sample, so often in all.

    Raises:
        Exception: What the last try raised.
    """
    attempt = 0
    while True:
        try:
            with rolled_out(attempt):
                return await part(**inputs)
        except Exception as error:
            attempt += 1
            if attempt == tries or isinstance(error, ENDS_ALIKE):
                raise
