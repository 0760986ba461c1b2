import asyncio
from datetime import timedelta

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.envconfig import ClientConnectConfig
from temporalio.service import RPCError, RPCStatusCode

_NO_SUCH_NAMESPACE = "it has no namespace {namespace!r}"


async def why_unusable(options: ClientConnectConfig, *, timeout_seconds: float) -> str | None:
    """Connect and look the namespace up.

    Returns:
        None if the server answers and has the namespace (or does not let this caller look), else a phrase that
        says what was met.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _namespace_missing(options, timeout_seconds)
    except TimeoutError:
        return f"no answer within {timeout_seconds:g} seconds"
    except RPCError as error:
        return error.message
    except (RuntimeError, ValueError, OSError) as error:  # temporalio's connect raises bare RuntimeErrors
        return _reason(str(error))


async def _namespace_missing(options: ClientConnectConfig, timeout_seconds: float) -> str | None:
    client = await Client.connect(**options)
    namespace = options.get("namespace", "default")
    request = DescribeNamespaceRequest(namespace=namespace)
    try:
        await client.workflow_service.describe_namespace(request, timeout=timedelta(seconds=timeout_seconds))
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            return _NO_SUCH_NAMESPACE.format(namespace=namespace)
        if error.status != RPCStatusCode.PERMISSION_DENIED:
            raise
    return None


def _reason(detail: str) -> str:
    """Shorten the Rust client's nested error to what a user can act on."""
    phrases = {
        "Connection refused": "nothing listens there (connection refused)",
        "dns error": "the host name is not known",
        "Unauthenticated": "it rejected the credentials",
        "PermissionDenied": "it rejected the credentials",
        "InvalidCertificate": "its TLS certificate is not trusted",
        "timed out": "the connection timed out",
    }
    return next((phrase for mark, phrase in phrases.items() if mark in detail), detail[:300])
