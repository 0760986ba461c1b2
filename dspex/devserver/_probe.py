import asyncio
from datetime import timedelta

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.envconfig import ClientConnectConfig
from temporalio.service import RPCError, RPCStatusCode

_NO_TEMPORAL = "what listens there does not speak as a Temporal server does; check host and port"
_CLOSED = (
    "it ended the connection: it may ask for TLS (TEMPORAL_TLS), for a client certificate or for another one "
    "(TEMPORAL_TLS_CLIENT_CERT_PATH, TEMPORAL_TLS_CLIENT_KEY_PATH), or be no Temporal server"
)
_PHRASES = {
    "Connection refused": "nothing listens there (connection refused)",
    "dns error": "the host name is not known",
    "Unauthenticated": "it rejected the credentials",
    "PermissionDenied": "it rejected the credentials",
    "NotValidForName": "its TLS certificate is of another name; set TEMPORAL_TLS_SERVER_NAME to that one",
    "InvalidCertificate": (
        "its TLS certificate is not trusted; "
        "set TEMPORAL_TLS_SERVER_CA_CERT_PATH to that of the authority which signed it"
    ),
    "InvalidContentType": "it does not speak TLS, which TEMPORAL_TLS, a TEMPORAL_TLS_… variable or an API key asks for",
    "Must have both client cert": (
        "a client certificate goes with its key; "
        "set both TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH"
    ),
    "PrivateKeyParseError": "the client certificate's key is no private key in PEM form",
    "CertificateParseError": "the client certificate is none in PEM form",
    "timed out": "the connection timed out",
    "h2 protocol error": _NO_TEMPORAL,
    "transport error": _CLOSED,
    "connection closed": _CLOSED,
}
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
        return _NO_TEMPORAL if error.status is RPCStatusCode.UNIMPLEMENTED else error.message
    except (RuntimeError, ValueError, OSError) as error:  # temporalio's connect raises bare RuntimeErrors
        return connection_trouble(error)


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


def connection_trouble(error: Exception) -> str:
    """What kept the SDK's client from connecting, as a phrase: its own text is the Rust client's, nested many deep."""
    text = str(error)
    return next((phrase for mark, phrase in _PHRASES.items() if mark in text), _NO_TEMPORAL)
