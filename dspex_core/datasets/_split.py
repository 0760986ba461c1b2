"""Setting rows aside for validation."""

import random
from collections.abc import Sequence
from typing import TypeVar

from dspex_core.errors import DatasetError

_Row = TypeVar("_Row")


def hold_out(rows: Sequence[_Row], *, share: float = 0.2, seed: int = 0) -> tuple[list[_Row], list[_Row]]:
    """Split rows at random into training and held-out rows.

    Both parts come shuffled, since files are often sorted by label and optimizers look at the first rows first.

    Args:
        rows: At least two rows; they are left as they are.
        share: The part to hold out, between 0 and 1; rounded to whole rows, at least one on each side.
        seed: The same seed and rows give the same split in every process and on every platform.

    Returns:
        (training rows, held-out rows).

    Raises:
        DatasetError: There are fewer than two rows, or the share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise DatasetError(f"cannot hold out a share of {share}; give a number between 0 and 1, such as 0.2")
    if len(rows) < 2:  # noqa: PLR2004 - one for each part
        raise DatasetError(
            f"cannot hold out rows for validation from {len(rows)} in all; add rows, or give a validation file"
        )
    held = min(max(round(len(rows) * share), 1), len(rows) - 1)
    shuffled = random.Random(seed).sample(rows, len(rows))  # noqa: S311 - a reproducible split, nothing secret
    return shuffled[held:], shuffled[:held]
