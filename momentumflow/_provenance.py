"""What a result was made with: versions, device, precision, commit, command."""

import dataclasses
import hashlib
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from . import __version__

_LIBRARIES = ("jax", "equinox", "diffrax", "numpy")
_ROOT = Path(__file__).parents[1]


def plain(config: Any) -> dict[str, Any]:
    """A config as JSON has it: tuples become lists."""
    fields = dataclasses.asdict(config)
    try:
        return json.loads(json.dumps(fields, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"a Config holds numbers, strings and tuples of them only, got {fields}: {error}"
        ) from error


def config_digest(config: Any) -> str:
    """SHA-256 of the settings, whatever their order."""
    return hashlib.sha256(json.dumps(plain(config), sort_keys=True).encode()).hexdigest()


def environment() -> dict[str, str]:
    """Python, platform, libraries, device and precision of this process."""
    import jax

    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: version(name) for name in _LIBRARIES},
        "device": f"{device.platform}: {device.device_kind}",
        "precision": "float64" if jax.config.read("jax_enable_x64") else "float32",
    }


def now() -> str:
    """Date and time, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def commit() -> str:
    """The commit of the checkout that this code runs from, "" where it is none; + stands for changes on top."""
    if not (_ROOT / ".git").exists():
        return ""
    git = ["git", "-C", str(_ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip()[:12] + "+" * bool(changed)


def command() -> str:
    """The command line of this process; of its paths only the last part, which says nothing of the machine."""
    return " ".join("=".join(map(_bare, word.split("="))) for word in sys.argv)


def _bare(text: str) -> str:
    return "ADDRESS" if "://" in text else os.path.basename(text.rstrip(os.sep)) if os.sep in text else text


def provenance(asked_by: str | None = None) -> dict[str, str]:
    """All of it, for a result file that is kept; `asked_by` is the command where another process gave it."""
    return {
        "command": command() if asked_by is None else asked_by,
        "commit": commit(),
        "momentumflow": __version__,
        "date": now(),
        "cores": str(os.cpu_count()),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    } | environment()
