from temporalio import activity

from dspex_core.artifacts import ArtifactStore
from dspex_core.budget import Limits
from dspex_core.errors import ArtifactError


async def most_calls(store: ArtifactStore) -> Limits | None:
    """What a try of this activity may call: nothing where nothing can be kept, or else as much as it likes (None).

    A full disk keeps no answers either, and they would be paid for with every try. What was answered before is looked
    up even then, so that it is counted.
    """
    if activity.info().attempt == 1:
        return None
    try:
        await store.check_writable()
    except ArtifactError:
        return Limits(lm_calls=0)
    return None
