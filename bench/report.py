"""What a bench prints: a table to read, and last one line of JSON with the same figures."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parent.parent
MEASURED = ("engine", "workers", "schema.sql", "requirements.lock")
PACKAGES = (
    "fastembed",
    "onnxruntime",
    "tokenizers",
    "pypdfium2",
    "pypdf",
    "trafilatura",
    "psycopg",
)


class Table(NamedTuple):
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """Columns as wide as their longest cell, the first to the left, the others to the right."""
        lines = [self.head, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.head))]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )


class Shown(NamedTuple):
    """What one bench has shown."""

    tables: Sequence[Table]
    figures: Mapping[str, object]


SHOWN: list[Shown] = []


def show(*tables: Table, bench: str, **figures: object) -> None:
    """Print the tables, and the figures as the last line; `write` keeps both."""
    SHOWN.append(Shown(tables, figures))
    for table in tables:
        print(f"\n{table.title}\n{table.text()}", flush=True)
    print(json.dumps({"bench": bench, **figures}), flush=True)


def write(path: Path, *, section: str, corpora: Mapping[str, str]) -> None:
    """What was shown since the last call, as one section; the file's other sections stay.

    `corpora`: a hash by name.
    """
    lines = ["# Results", "", "Written by `make bench`.", ""]
    lines += [f"- {name}: {value}" for name, value in machine().items()]
    lines += [f"- corpus {name}: SHA-256 {sha256}" for name, sha256 in corpora.items()]
    kept = {**_sections(path), section: _section()}
    SHOWN.clear()
    path.write_text("\n".join(lines) + "\n" + "".join(f"\n## {n}\n{t}" for n, t in kept.items()))


def _sections(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    found = (part.partition("\n") for part in path.read_text().split("\n## ")[1:])
    return {name: text.rstrip("\n") + "\n" for name, _, text in found}


def _section() -> str:
    lines = ["", f"Read on {date.today()}, {_commit()}.", ""]
    for shown in SHOWN:
        for table in shown.tables:
            lines += ["```text", table.title, table.text(), "```", ""]
        lines += ["```json", json.dumps(shown.figures), "```"]
    return "\n".join(lines) + "\n"


def _commit() -> str:
    """What was measured; outside of a repository nobody can say."""
    try:
        changed = _git("status", "--porcelain", "--", *MEASURED)
        return f"commit {_git('rev-parse', '--short', 'HEAD')}{' and changes' if changed else ''}"
    except (OSError, subprocess.CalledProcessError):
        return "no commit known"


def _git(*words: str) -> str:
    done = subprocess.run(
        ("git", *words), cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def machine() -> dict[str, object]:
    """What the figures were read on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
