import base64

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.bridge.proto.workflow_activation import WorkflowActivation

from dspex.encryption import EncryptionCodec
from dspex.encryption._codec import still_encrypted
from dspex_core.artifacts import Keyring

OLD = Keyring.parse(f"old:{base64.b64encode(bytes(range(32))).decode()}")


def into_a_list(activation, payload):
    activation.jobs.add().initialize_workflow.arguments.add().CopyFrom(payload)


def into_a_map(activation, payload):
    activation.jobs.add().initialize_workflow.headers["trace"].CopyFrom(payload)


def into_a_field(activation, payload):
    activation.jobs.add().resolve_activity.result.completed.result.CopyFrom(payload)


@pytest.mark.parametrize("put", [into_a_list, into_a_map, into_a_field])
async def test_what_cannot_be_decrypted_is_found_wherever_it_is(put):
    [sealed] = await EncryptionCodec(OLD).encode([Payload(data=b"secret")])
    [unread] = await EncryptionCodec(None).decode([sealed])
    activation = WorkflowActivation()
    activation.jobs.add().initialize_workflow.arguments.add().data = b"readable"
    assert still_encrypted(activation) is None
    put(activation, unread)
    assert "encrypted with the key 'old'" in str(still_encrypted(activation))
