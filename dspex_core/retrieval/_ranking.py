from typing import TYPE_CHECKING, Any

from dspex_core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def best(scores: "NDArray[np.floating[Any]]", k: int) -> list[tuple[int, float]]:
    """Positions and scores of the `k` highest scores, the highest first; of equal ones, the earliest position first."""
    import numpy as np  # noqa: PLC0415 - imported where it is used

    size = min(k, len(scores))
    least = np.partition(scores, len(scores) - size)[len(scores) - size]
    # All that reach the least score that counts: a partition alone would pick among equals as it pleases.
    among = np.flatnonzero(scores >= least)
    ordered = among[np.argsort(-scores[among], kind="stable")][:size]
    return [(int(position), float(scores[position])) for position in ordered]


def checked_k(k: int) -> int:
    """The number of passages wanted.

    Raises:
        InputError: If it is not positive.
    """
    if k < 1:
        raise InputError(f"k is {k}: ask for 1 passage or more")
    return k
