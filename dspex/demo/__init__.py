"""The demo's data."""

from dspex.demo._stdlib_docs import AREAS, DemoData, stdlib_descriptions

__all__ = ["AREAS", "DemoData", "stdlib_descriptions"]
