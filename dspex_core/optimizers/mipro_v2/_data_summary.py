from dspex_core.errors import AdapterParseError
from dspex_core.optimizers._result import P
from dspex_core.optimizers._search import Search
from dspex_core.optimizers._side_by_side import all_of
from dspex_core.optimizers._words import rows_in_words
from dspex_core.optimizers.mipro_v2._prompts import DescribeRows, SumUpObservations, asking
from dspex_core.seam import LMConfig

MOST_BATCHES = 10


async def summary_of_data(search: Search[P], *, batch_size: int, prompt_model: LMConfig | None) -> str:
    """What the training rows are like, in a few sentences of the prompt model's.

    At most ten batches of rows are described side by side, and their descriptions summed up.

    Source: Opsahl-Ong et al. 2024, "Optimizing Instructions and Demonstrations for Multi-Stage Language Model
    Programs", section 3.2 and appendix C.1. There, each batch is described in the light of the ones before; here, all
    at once.
    """
    starts = range(0, len(search.trainset), batch_size)[:MOST_BATCHES]

    async def described(start: int) -> str:
        rows = range(start, min(start + batch_size, len(search.trainset)))
        inputs = {"rows": rows_in_words(await search.labeled_demos(rows))}
        answer = await search.ask(asking(DescribeRows, inputs), inputs, lm=prompt_model)
        return str(answer.observations)

    search.phase("describing the data")
    try:
        observations = await all_of(described(start) for start in starts)
        inputs = {"observations": "\n\n".join(observations)}
        answer = await search.ask(asking(SumUpObservations, inputs), inputs, lm=prompt_model)
    except AdapterParseError:
        return ""  # the proposals go without it
    return str(answer.summary)
