"""Training models: examples written as chats, jobs at providers, trainers of users' own."""

from dspex_core.training._chats import chats
from dspex_core.training._jobs import cancel_job, follow_job, start_job

__all__ = ["cancel_job", "chats", "follow_job", "start_job"]
