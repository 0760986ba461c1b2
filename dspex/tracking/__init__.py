"""Durable runs shown in the tracking servers that teams have."""

from ._mlflow import log_to_mlflow

__all__ = ["log_to_mlflow"]
