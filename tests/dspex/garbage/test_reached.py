import hashlib

import pytest
from temporalio.api.common.v1 import Payloads
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionStartedEventAttributes

from dspex.garbage import Reached
from dspex.worker import DSPExPlugin
from dspex_core.artifacts import ArtifactStore, Keyring, store_dataset
from dspex_core.errors import EncryptionError
from dspex_core.testing import conformance_rows

OLD, NEW = ("old:" + "A" * 43 + "=", "new:" + "B" * 42 + "A=")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


async def event_of(plugin, *values):
    """An event of a history that holds these values, as a client or a worker sends them."""
    payloads = await plugin._converter.encode(values)
    started = WorkflowExecutionStartedEventAttributes(input=Payloads(payloads=payloads))
    return HistoryEvent(workflow_execution_started_event_attributes=started)


async def reached_by(plugin, message):
    reached = Reached(plugin.store, plugin.payload_reader())
    await reached.follow(message)
    return reached.digests


async def all_of(store):
    return {artifact.digest async for artifact in store.stored()}


@pytest.mark.parametrize("keys", [None, OLD])
@pytest.mark.parametrize("padding", ["", "demo " * 5000], ids=["inline", "large"])
async def test_a_data_set_is_reached_down_to_its_rows_from_any_payload(folder, keys, padding):
    plugin = DSPExPlugin(artifacts=folder.as_uri(), encryption_key=keys)
    dataset = await store_dataset(plugin.store, conformance_rows(40) * 30)
    blocks = await all_of(plugin.store)
    assert len(blocks) == 4
    unused = await plugin.store.put(b"of no use")
    event = await event_of(plugin, {"trainset": dataset, "program": padding})
    reached = await reached_by(plugin, event)
    assert blocks <= reached
    assert await all_of(plugin.store) - reached == {unused}


async def test_what_an_artifact_refers_to_is_reached_through_it(folder):
    plugin = DSPExPlugin(artifacts=folder.as_uri())
    last = await plugin.store.put(b"the last one")
    first = await plugin.store.put(f"go on at {last}".encode())
    assert await reached_by(plugin, await event_of(plugin, {"session": first})) == {first, last}


async def test_a_digest_of_something_else_is_no_error(folder):
    plugin = DSPExPlugin(artifacts=folder.as_uri())
    digest = hashlib.sha256(b"a source file").hexdigest()
    assert await reached_by(plugin, await event_of(plugin, [digest])) == {digest}


async def test_a_payload_whose_key_is_not_here_is_an_error_and_not_taken_for_empty(folder):
    event = await event_of(DSPExPlugin(artifacts=folder.as_uri(), encryption_key=OLD), {"rows": ["0" * 64]})
    for keys in (None, NEW):
        with pytest.raises(EncryptionError, match="'old'"):
            await reached_by(DSPExPlugin(artifacts=folder.as_uri(), encryption_key=keys), event)


async def test_an_artifact_whose_key_is_not_here_is_an_error_too(folder):
    sealed = ArtifactStore(folder.as_uri(), keyring=Keyring.parse(OLD))
    plugin = DSPExPlugin(artifacts=folder.as_uri())
    event = await event_of(plugin, [await sealed.put(b"rows")])
    with pytest.raises(EncryptionError, match="'old'"):
        await reached_by(plugin, event)
