"""How long activities may take, and how they are tried again."""

from datetime import timedelta
from typing import TypedDict

from temporalio.common import RetryPolicy

HEARTBEAT_TIMEOUT = timedelta(seconds=6)
"""How long a killed worker goes unnoticed."""

MOST_OUTSTANDING = 32
"""Activities asked for at once by one workflow; from 64 on, servers were seen to fail its tasks."""

ACTIVITIES_A_LEG = 1000
"""After as many, an evaluation or a program run continues as new, so that its history stays small."""


class ActivityOptions(TypedDict):
    """Keyword arguments of `workflow.execute_activity`."""

    start_to_close_timeout: timedelta
    schedule_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy


def activity_options() -> ActivityOptions:
    """Options of every activity: an outage is waited out for a day, and what waiting cannot cure fails at once.

    Which errors are worth another try, and when, is decided where they are raised, in the activities. What is left for
    this policy is a worker that was lost: the next one takes up its work soon, however often that has happened.
    """
    return ActivityOptions(
        start_to_close_timeout=timedelta(hours=2),
        schedule_to_close_timeout=timedelta(days=1),
        heartbeat_timeout=HEARTBEAT_TIMEOUT,
        retry_policy=RetryPolicy(
            initial_interval=timedelta(seconds=1), backoff_coefficient=1.2, maximum_interval=timedelta(seconds=20)
        ),
    )


def training_options() -> ActivityOptions:
    """Those of an activity in which a user's own trainer works; training takes as long as it takes."""
    options = activity_options()
    options["start_to_close_timeout"] = options["schedule_to_close_timeout"] = timedelta(days=30)
    return options
