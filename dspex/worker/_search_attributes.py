from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from dspex._rooms import workflows


async def register_search_attributes(client: Client) -> bool:
    """Make our search attributes known to the server, once.

    Returns:
        Whether the server knows them now; False where this client may not add any, as on Temporal Cloud.
    """
    wanted = {key.name: IndexedValueType.ValueType(key.indexed_value_type) for key in workflows.SEARCH_ATTRIBUTES}
    try:
        known = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace)
        )
        missing = {name: kind for name, kind in wanted.items() if name not in known.custom_attributes}
        if missing:
            await client.operator_service.add_search_attributes(
                AddSearchAttributesRequest(namespace=client.namespace, search_attributes=missing)
            )
    except RPCError as error:
        # Another process may have added them in between.
        return error.status is RPCStatusCode.ALREADY_EXISTS
    return True
