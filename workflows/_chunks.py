FEWEST_ROWS = 10
MOST_ROWS = 100
CHUNKS_WANTED = 16


def plan_chunks(rows: int, *, chunk_rows: int | None = None) -> list[range]:
    """How an evaluation's rows are split among activities.

    An activity costs about 30 ms of its own, and a worker that is killed redoes the chunks it had under way: so there
    are enough chunks to share among workers, and none is too small to be worth its overhead.

    Args:
        rows: Rows in all.
        chunk_rows: Rows a chunk, where the user wants it so.
    """
    size = chunk_rows or min(MOST_ROWS, max(FEWEST_ROWS, -(-rows // CHUNKS_WANTED)))
    return [range(first, min(first + size, rows)) for first in range(0, rows, size)]
