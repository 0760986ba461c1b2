from collections.abc import Collection
from functools import partial
from typing import Any, cast

from temporalio.worker import Interceptor, WorkflowInboundInterceptor, WorkflowInterceptorClassInput

from dspex._rooms import workflows
from dspex_core.references import import_code


class TrustedCode(Interceptor):
    """Lets workflows import what their worker trusts.

    Args:
        trust: Packages that may be imported from.
    """

    def __init__(self, trust: Collection[str]) -> None:
        self._trust = trust

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002 - Temporal's word for it
    ) -> type[WorkflowInboundInterceptor] | None:
        """Nothing is intercepted; workflows are given the function."""
        found = cast("dict[str, Any]", input.unsafe_extern_functions)  # pyright: ignore[reportUnknownMemberType]
        found[workflows.IMPORT_TRUSTED] = partial(import_code, trust=self._trust)
        return None
