"""Plain HTML elements, and the few parts that pages are made of."""

from collections.abc import Callable, Generator, MutableMapping
from contextlib import contextmanager
from inspect import isawaitable
from typing import Any, TypeVar, cast
from urllib.parse import quote

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from dspex.dashboard._feeds import Feed

T = TypeVar("T")

_PLACES = (("Runs", "/"), ("Compare", "/compare"), ("Start a run", "/start"))
_LOOK_SECONDS = 0.25
"""How often a page looks whether there is something new to show; nothing crosses the wire if there is not."""


class Words(TextElement):
    """An element that holds text, and nothing but text, whatever that text may be."""

    def show(self, text: str) -> None:
        """Show this from now on."""
        if self.text != text:
            self.text = text


def words(tag: str, text: str = "", classes: str = "", **attributes: str) -> Words:
    """An element with text in it."""
    element = Words(tag=tag, text=text)
    _dress(element, classes, attributes)
    return element


def box(tag: str, classes: str = "", **attributes: str) -> ui.element:
    """An element that holds others."""
    element = ui.element(tag)
    _dress(element, classes, attributes)
    return element


def button(text: str, on_press: Callable[[], Any], classes: str = "", **attributes: str) -> Words:
    """A button."""
    element = words("button", text, classes, type="button", **attributes)
    element.on("click", on_press, args=[])
    return element


def link(text: str, to: str, classes: str = "", **attributes: str) -> Words:
    """A link. `to` is an address of this dashboard or of a configured server, and never a text of a model's."""
    return words("a", text, classes, href=to, **attributes)


def set_attribute(element: ui.element, name: str, value: str | None) -> None:
    """Set an attribute, or with None remove it."""
    attributes = props_of(element)
    if value is None:
        attributes.pop(name, None)
    elif attributes.get(name) != value:
        attributes[name] = value


def props_of(element: ui.element) -> MutableMapping[str, Any]:
    """An element's attributes; to set one tells the browser."""
    return cast("MutableMapping[str, Any]", element.props)


def run_address(run_id: str) -> str:
    """Where a run's page is."""
    return f"/runs/{quote(run_id)}"


@contextmanager
def page_frame(title: str, *, here: str = "") -> Generator[None]:
    """The frame of every page: what leads elsewhere, and the main part."""
    ui.page_title(f"{title} · DSPEx")
    with ui.context.client.layout:
        skip = link("Skip to the content", "#content", "skip")
        with box("header", "bar") as header, box("nav", **{"aria-label": "Main"}):
            link("DSPEx", "/", "brand")
            for name, address in _PLACES:
                current = {"aria-current": "page"} if address == here else {}
                link(name, address, **current)
    # NiceGUI puts pages into <main>; what is the same on all pages stands before it.
    header.move(target_index=0)
    skip.move(target_index=0)
    with box("div", id="content", tabindex="-1"):
        yield


@contextmanager
def section(heading: str, classes: str = "") -> Generator[ui.element]:
    """A part of a page under a heading."""
    with box("section", classes, **{"aria-label": heading}) as element:
        words("h2", heading)
        yield element


async def watch(feed: Feed[T], show: Callable[[], Any]) -> None:
    """Call `show` now and whenever the feed has something new, as long as this page is open in its browser."""
    client = cast("Any", ui.context.client)  # its handlers are untyped
    watching = feed.watching()
    watching.__enter__()
    client.on_delete(lambda: watching.__exit__(None, None, None))
    # What a page shows first is in it when it arrives.
    await feed.known()
    version = -1

    async def look() -> None:
        nonlocal version
        if feed.version != version:
            version = feed.version
            shown = show()
            if isawaitable(shown):
                await shown

    await look()

    ui.timer(_LOOK_SECONDS, look, immediate=False)


def _dress(element: ui.element, classes: str, attributes: dict[str, str]) -> None:
    if classes:
        element.classes(classes)
    for name, value in attributes.items():
        element.props[name] = value
