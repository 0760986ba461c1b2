import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from dspex_core.errors import ConfigurationError
from dspex_core.testing.fake_provider._change import SettingsChange
from dspex_core.testing.fake_provider._script import Script, ScriptRule
from dspex_core.testing.fake_provider._settings import ProviderSettings
from dspex_core.testing.fake_provider._stats import ProviderStats

_MODULE = "dspex_core.testing.fake_provider"
_READY = "listening on "
_ANSWER_SECONDS = 10.0
_STOP_SECONDS = 5.0


class FakeProviderProcess(ProviderSettings):
    """A `FakeProvider` in a process of its own: `with FakeProviderProcess() as provider: …`.

    The arguments are those of `ProviderSettings`. The process ends with the block, and when the process that started
    it ends in whatever way: it watches a pipe that only the starter holds (a child forked from the starter holds it
    as well, and keeps the provider alive as long as it lives). Its stderr is the starter's.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self._process: subprocess.Popen[str] | None = None
        self._base_url = ""

    @property
    def base_url(self) -> str:
        """Where OpenAI's API is served, with `/v1` at its end.

        Raises:
            ConfigurationError: The provider was never started.
        """
        if not self._base_url:
            raise ConfigurationError("the fake provider is not running: start it first, or enter it with `with`")
        return self._base_url

    @property
    def root_url(self) -> str:
        """Where Anthropic's API is served, as its SDK wants it: without a path.

        Raises:
            ConfigurationError: The provider was never started.
        """
        return self.base_url.removesuffix("/v1")

    def start(self) -> None:
        """Start the process; returns once requests are answered.

        Raises:
            ConfigurationError: It ended instead; what it said is on stderr.
        """
        self._process = subprocess.Popen(  # noqa: S603 - our own module, with checked settings
            [sys.executable, "-m", _MODULE, "--until-stdin-closes", *self._flags()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        line = self._process.stdout.readline().strip()
        if not line.startswith(_READY):
            self.stop()
            raise ConfigurationError(
                f"the fake provider did not start on {self.host}:{self.port}: what it said is on stderr"
            )
        self._base_url = line.removeprefix(_READY)
        if self.script:
            self.set_script(self.script)

    def stop(self) -> None:
        """End the process in order: SIGTERM, and SIGKILL after five seconds."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._collect()

    def kill(self) -> None:
        """End the process as a crash would: SIGKILL, open connections and all."""
        if self._process is not None:
            self._process.kill()
            self._collect()

    def stats(self) -> ProviderStats:
        """What it has met since it started or was last reset, asked for over HTTP."""
        return ProviderStats.model_validate_json(self._ask("stats", method="GET"))

    def reset(self) -> None:
        """Set every count to zero, those of attempts included."""
        self._ask("reset", method="POST")

    def change(self, **settings: Any) -> None:
        """Change settings while it runs; the names are those of `SettingsChange`.

        Raises:
            ConfigurationError: There is no such setting to change, or the value cannot be used.
        """
        change = SettingsChange.of(settings)
        self._ask("settings", method="POST", body=change.model_dump_json(exclude_unset=True).encode())

    def set_script(self, rules: Sequence[ScriptRule | dict[str, Any]]) -> None:
        """Replace the script; none of the new rules has been used yet.

        Raises:
            ConfigurationError: If they are no rules.
        """
        written = [rule.model_dump(mode="json") for rule in Script(rules).rules]
        self._ask("script", method="POST", body=json.dumps(written).encode())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _ask(self, path: str, *, method: str, body: bytes | None = None) -> bytes:
        url = f"{self.root_url}/{path}"
        request = urllib.request.Request(url, data=body, method=method)  # noqa: S310 - http, from our own process
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as response:  # noqa: S310 - as above
                return response.read()
        except urllib.error.HTTPError as error:
            with error:
                raise ConfigurationError(json.loads(error.read())["error"]["message"]) from None

    def _collect(self) -> None:
        if self._process is not None:
            with self._process:
                self._process.wait()
            self._process = None

    def _flags(self) -> list[str]:
        values = {
            "port": self.port,
            "host": self.host,
            "latency-ms": self.latency_ms,
            "fault-rate": self.fault_rate,
            "fault-kinds": ",".join(self.fault_kinds),
            "seed": self.seed,
            "capacity": self.capacity,
            "api-key": self.api_key,
            "requests-per-minute": self.requests_per_minute,
            "tokens-per-minute": self.tokens_per_minute,
            "retry-after-format": self.retry_after_format,
            "outage": self.outage,
            "retry-after-seconds": self.retry_after_seconds,
            "slow-seconds": self.slow_seconds,
            "chunk-characters": self.chunk_characters,
            "chunk-latency-ms": self.chunk_latency_ms,
            "fine-tuning-polls": self.fine_tuning_polls,
        }
        flags = [f"--{name}={value}" for name, value in values.items() if value is not None]
        switches = [("--prompt-caching", self.prompt_caching), ("--no-structured-output", not self.structured_output)]
        return [*flags, *(name for name, on in switches if on)]
