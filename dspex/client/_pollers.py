from temporalio.client import Client


async def is_polled(temporal: Client, task_queue: str) -> bool:
    """Whether a worker polls a task queue for workflows; one that was killed counts for a few minutes more."""
    from temporalio.api.enums.v1 import TaskQueueType  # noqa: PLC0415 - a large generated module
    from temporalio.api.taskqueue.v1 import TaskQueue  # noqa: PLC0415
    from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest  # noqa: PLC0415

    answer = await temporal.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=temporal.namespace,
            task_queue=TaskQueue(name=task_queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
    )
    return bool(answer.pollers)
