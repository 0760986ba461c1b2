"""DSPy's own virtual environment: it shares nothing with ours, so neither slows the other down."""

import hashlib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

_HERE = Path(__file__).parent
_FOLDER = _HERE / ".venv-dspy"
_LOCK = _HERE / "requirements-dspy.lock"
_PYTHON = _FOLDER / "bin" / "python"
_INSTALLED = _FOLDER / ".installed"


def dspy_version() -> str:
    """The version that the lock pins."""
    found = re.search(r"^dspy==(\S+)", _LOCK.read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit(f"{_LOCK} pins no dspy")
    return found.group(1)


def dspy_python(say: Callable[[str], None]) -> Path:
    """Python with DSPy installed as the lock says; the environment is made if it is missing or of another lock."""
    wanted = hashlib.sha256(_LOCK.read_bytes()).hexdigest()
    if not _INSTALLED.exists() or _INSTALLED.read_text() != wanted:
        say(f"installing DSPy {dspy_version()} into {_FOLDER.name} (once; about a minute)")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(_FOLDER)], check=True)
        pip = [str(_PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--require-hashes", "--requirement", str(_LOCK)], check=True)
        _INSTALLED.write_text(wanted)
    return _PYTHON
