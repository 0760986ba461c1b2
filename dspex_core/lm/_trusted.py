import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from dspex_core.errors import ConfigurationError, TrustError
from dspex_core.lm._config import endpoint_from_environment, served_at, without_version
from dspex_core.lm._presets import preset_of
from dspex_core.seam import LMConfig

_PORTS = {"http": 80, "https": 443}
# Only what every parser reads alike. The request is sent by other code than what looks at the address here, and an
# address that the two read differently would lead elsewhere.
_PLAIN = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9.-]+|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?(?P<path>(/[a-z0-9._~:@+=,-]*)*)",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True)
class _Place:
    """An address, taken apart."""

    scheme: str
    host: str
    port: int
    path: tuple[str, ...]

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    def holds(self, other: "_Place") -> bool:
        """Whether the other is this place or below it."""
        same = (self.scheme, self.host, self.port) == (other.scheme, other.host, other.port)
        return same and other.path[: len(self.path)] == self.path


class TrustedAddresses:
    """Addresses to which this process sends its keys when somebody else, such as a run's payload, names them.

    That is a provider's own address, the one in its variable (such as OPENAI_BASE_URL), this machine's loopback, and
    those named here. What is below a trusted address is trusted: same scheme, host and port, and a path that begins
    with all segments of its path.

    Args:
        named: Further addresses, such as "https://models.example.com/v1".

    Raises:
        ConfigurationError: If one is no plain http:// or https:// address.
    """

    def __init__(self, named: Iterable[str] = ()) -> None:
        self._named = tuple(_plain(address) for address in named)

    def require(self, config: LMConfig) -> None:
        """Refuse a model, or a fallback of it, that is served elsewhere.

        Raises:
            TrustError: Naming the address, and how to trust it.
            ConfigurationError: If nothing says where the model is served.
        """
        if not self._trusts(config):
            raise TrustError(
                f"this worker sends no key to {config.api_base}, where {config.model} is to be served; if you trust "
                f"that address, start the worker with --trust-api-base {config.api_base}, or name it in its "
                "DSPEX_TRUSTED_API_BASES"
            )
        for other in config.fallbacks:
            self.require(other)

    def _trusts(self, config: LMConfig) -> bool:
        asked, preset = served_at(config), preset_of(config.model)
        own = [url for url in (preset.url, endpoint_from_environment(config.model)) if url]
        if config.api_base is None or config.api_base in (url.rstrip("/") for url in own):
            return True
        place = _place(asked)
        if place is None:
            return False
        known = (_place(without_version(url, preset)) for url in (*self._named, *own))
        return place.is_loopback or any(other.holds(place) for other in known if other is not None)


def _plain(address: str) -> str:
    if _place(address) is None:
        raise ConfigurationError(
            f"{_without_user(address)!r} cannot be trusted as a model's address: write scheme and host, and if need be "
            "port and path, such as https://models.example.com/v1, with no user name, query or escapes"
        )
    return address


def _without_user(address: str) -> str:
    return re.sub(r"//[^/]*@", "//…@", address)


def _place(address: str) -> _Place | None:
    """The address in parts; None if it is not written plainly."""
    found = _PLAIN.fullmatch(address)
    if found is None:
        return None
    segments = tuple(segment for segment in found["path"].split("/") if segment)
    if {".", ".."} & set(segments):
        return None
    scheme = found["scheme"].lower()
    return _Place(scheme, found["host"].lower(), int(found["port"] or _PORTS[scheme]), segments)
