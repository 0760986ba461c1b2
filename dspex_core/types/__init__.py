"""Types of fields that are more than text: images, earlier exchanges, and the calls of tools."""

from dspex_core.types._history import History
from dspex_core.types._image import IMAGE_PLACE, Image, shown_images
from dspex_core.types._tool_calls import ToolCalls

__all__ = ["IMAGE_PLACE", "History", "Image", "ToolCalls", "shown_images"]
