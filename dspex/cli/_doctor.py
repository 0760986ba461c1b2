import contextlib
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

from dspex import settings
from dspex.cli._cache import describe
from dspex.cli._shell import FAILED, tell, tell_json
from dspex.client import Client
from dspex.dashboard import dashboard_installed
from dspex.devserver import configured_server, running_dev_server
from dspex_core.artifacts import ArtifactStore, Keyring
from dspex_core.errors import DSPExError
from dspex_core.home import home
from dspex_core.lm import PRESETS, BreakerReport, ResponseCache, TrustedAddresses, broken_models

_PACKAGES = ("temporalio", "pydantic", "openai", "diskcache", "obstore", "structlog")


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        what: Its name.
        ok: Whether it is as it should be; None if it is merely not there.
        found: What was found; never a secret.
        advice: What to do about it.
    """

    what: str
    ok: bool | None
    found: str
    advice: str = ""


async def examine(*, as_json: bool) -> None:
    """Look at what DSPEx needs, and tell what is there and what to do about what is not."""
    findings = [
        _python(),
        *_packages(),
        _home(),
        _cache(),
        _encryption(),
        await _artifacts(),
        _temporal_command(),
        *await _server(),
        _dashboard(),
        *_keys(),
        *_trusted_addresses(),
        *_models(),
    ]
    well = all(finding.ok is not False for finding in findings)
    if as_json:
        tell_json({"ok": well, "findings": [asdict(finding) for finding in findings]})
    else:
        _tell(findings)
    if not well:
        sys.exit(FAILED)


def _tell(findings: list[Finding]) -> None:
    marks = {True: "ok", False: "!!", None: "--"}
    for finding in findings:
        tell(f"{marks[finding.ok]}  {finding.what:<18} {finding.found}")
        if finding.advice:
            tell(f"{'':<23}{finding.advice}")


def _python() -> Finding:
    return Finding("Python", sys.version_info >= (3, 11), f"{platform.python_version()} ({sys.executable})")


def _packages() -> list[Finding]:
    found: list[Finding] = []
    for package in ("dspex", *_PACKAGES):
        try:
            found.append(Finding(package, ok=True, found=version(package)))
        except PackageNotFoundError:
            found.append(Finding(package, ok=False, found="not installed", advice="install dspex again"))
    return found


def _home() -> Finding:
    try:
        return Finding("DSPEX_HOME", ok=True, found=str(home()))
    except DSPExError as error:
        return Finding("DSPEX_HOME", ok=False, found=str(error))


def _cache() -> Finding:
    try:
        stats = ResponseCache().stats()
    except DSPExError as error:
        return Finding("answer cache", ok=False, found=str(error))
    return Finding("answer cache", ok=stats.usable, found=describe(stats))


def _encryption() -> Finding:
    keys = settings.encryption_key()
    if keys is None:
        advice = "set DSPEX_ENCRYPTION_KEY to encrypt what the Temporal server and the artifact store keep"
        return Finding("encryption", ok=None, found="off", advice=advice)
    try:
        first, *others = Keyring.parse(keys).key_ids
    except DSPExError as error:
        return Finding("encryption", ok=False, found=str(error))
    also = f"; {', '.join(others)} decrypt too" if others else ""
    return Finding("encryption", ok=True, found=f"on, with the key {first}{also}")


async def _artifacts() -> Finding:
    try:
        url = settings.artifacts_url()
        await ArtifactStore(url).put(b"dspex doctor")
    except DSPExError as error:
        return Finding("artifact store", ok=False, found=str(error))
    return Finding("artifact store", ok=True, found=url)


def _temporal_command() -> Finding:
    found = shutil.which("temporal")
    with contextlib.suppress(DSPExError):
        cached = home() / "bin" / "temporal"
        found = found or (str(cached) if cached.exists() else None)
    if found:
        return Finding("temporal command", ok=True, found=found)
    how = "the first `dspex up` or `make demo` downloads or builds it"
    return Finding("temporal command", ok=None, found="none yet", advice=how)


async def _server() -> list[Finding]:
    try:
        server = await configured_server() or await running_dev_server()
        if server is None:
            advice = "`dspex up` starts one; `dspex compile` starts one for its own duration; or set TEMPORAL_ADDRESS"
            return [Finding("Temporal server", ok=None, found="none is running", advice=advice)]
        client = await Client.connect(server)
        working = await client.has_worker()
    except DSPExError as error:
        return [Finding("Temporal server", ok=False, found=str(error))]
    found = Finding(
        "Temporal server", ok=True, found=f"{server.address} ({server.origin}), namespace {server.namespace}"
    )
    advice = "" if working else "start one: dspex worker"
    worker = Finding("worker", ok=working or None, found=f"task queue {client.task_queue}", advice=advice)
    return [found, worker]


def _trusted_addresses() -> list[Finding]:
    named = settings.trusted_api_bases()
    try:
        TrustedAddresses(named)
    except DSPExError as error:
        advice = "correct DSPEX_TRUSTED_API_BASES"
        return [Finding("trusted addresses", ok=False, found=str(error), advice=advice)]
    return [Finding("trusted addresses", ok=True, found=", ".join(named))] if named else []


def _dashboard() -> Finding:
    if not dashboard_installed():
        return Finding("dashboard", ok=None, found="not installed", advice="pip install 'dspex[dashboard]'")
    return Finding("dashboard", ok=True, found="installed", advice="`dspex up` and `dspex dashboard` serve it")


def _models() -> list[Finding]:
    with contextlib.suppress(DSPExError):
        return [_broken(report) for report in broken_models()]
    return []


def _broken(report: BreakerReport) -> Finding:
    change = report.change
    found = f"{change.state.replace('_', ' ')} in process {report.process_id}: {change.reason or 'being tried again'}"
    return Finding(change.model, ok=False, found=found, advice=f"{change.endpoint} is tried again by itself")


def _keys() -> list[Finding]:
    """A key that is there, of any provider; where there is none, that of the first."""
    found = [
        Finding(preset.key_variable, ok=True, found="set")
        for preset in PRESETS.values()
        if os.environ.get(preset.key_variable)
    ]
    first, preset = next(iter(PRESETS.items()))
    if not os.environ.get(preset.key_variable):
        others = ", ".join(name for name in PRESETS if name != first)
        advice = f"{first}/… models need it; those of {others} have variables of their own"
        found.insert(0, Finding(preset.key_variable, ok=None, found="not set", advice=advice))
    return found
