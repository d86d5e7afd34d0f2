"""Writes what a benchmark measured, with everything that is needed to judge it and to run it again."""

import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from polytask.files import replacing

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")


def row(
    what: str,
    value: float,
    unit: str,
    *,
    interval: tuple[float, float] | None = None,
    against: str | None = None,
    note: str = "",
) -> dict[str, Any]:
    """One measured number.

    Args:
        what: What was measured: method, size, setting.
        value: The number.
        unit: Its unit: "rows/s", "x", "AUC".
        interval: Ends of its interval; the note says of what kind.
        against: What a ratio or difference is taken against.
        note: Number of repetitions, kind of the interval, what else a reader must know.
    """
    return {"what": what, "value": value, "unit": unit, "interval": interval, "against": against, "note": note}


def record(
    name: str,
    rows: Sequence[dict[str, Any]],
    *,
    title: str = "",
    seeds: Sequence[int] = (),
    rivals: Sequence[str] = (),
    caveat: str = "",
    **more: Any,
) -> Path:
    """Writes `benchmarks/results/<name>.json`, whole or not at all.

    Args:
        name: Stem of the file.
        rows: What was measured (`row`; other keys become further columns).
        title: Heading of its table; the name where not given.
        seeds: Seeds that were run.
        rivals: Distributions whose versions matter, beside the usual ones.
        caveat: What holds against the numbers, such as a busy machine.
        more: Further results; lists of dictionaries become tables of their own.
    """
    path = RESULTS / f"{name}.json"
    content = {
        "title": title or name.replace("_", " ").capitalize(),
        "command": _command(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "versions": _versions(rivals),
        "machine": machine(),
        "seeds": list(seeds),
        "caveat": caveat,
        "rows": list(rows),
        **more,
    }
    with replacing(path) as scratch:
        scratch.write_text(json.dumps(content, indent=1) + "\n")
        scratch.chmod(0o644)
    return path


def machine() -> dict[str, Any]:
    """Processor, cores, memory and what matters of the instruction set."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    about = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = set(about.get("flags", about.get("Features", "")).split())
    return {
        "cpu": about.get("model name", platform.processor() or platform.machine()),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "features": [name for name in _FEATURES if name in flags],
        "load": round(os.getloadavg()[0], 2),
    }


def _command() -> str:
    script = Path(sys.argv[0]).resolve()
    place = script.relative_to(ROOT) if script.is_relative_to(ROOT) else Path(script.name)
    arguments = list(sys.argv[1:])
    for option in ("--caveat", "--work", "--source"):  # a remark, or a place on this machine: no part of what is measured
        if option in arguments:
            at = arguments.index(option)
            del arguments[at : at + 2]
    return shlex.join(["python", place.as_posix(), *arguments])


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--", "src") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _versions(rivals: Sequence[str]) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("polytask", "torch", "numpy", "pyarrow", *rivals):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found
