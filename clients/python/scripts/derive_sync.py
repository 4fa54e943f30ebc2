"""Derives the client without `async` from the one with it, so that the two are the same.

python scripts/derive_sync.py          # writes
python scripts/derive_sync.py --check  # fails if what is there is another
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "stigmer"
MODULES = (
    "_files.py",
    "_skills.py",
    "client.py",
    "place.py",
    "process.py",
    "transport.py",
    "workspace.py",
)
HEADER = "# Derived by scripts/derive_sync.py. Change stigmer/_aio and derive again.\n"

RULES = [
    (r"\basync def\b", "def"),
    (r"\basync (for|with)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\banext\b", "next"),
    (r"\bAsync(Client|Files|Place|Process|Skills|Transport|Workspace)\b", r"\1"),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"\bAsyncGenerator\[(\w+), None\]", r"Generator[\1, None, None]"),
    (r"\bAsyncGenerator\b", "Generator"),
    (r"\b__a(enter|exit)__\b", r"__\1__"),
    (r"\ba(close|closing|read)\b", r"\1"),
    (r"\baiter_bytes\b", "iter_bytes"),
    (r"\bhandle_async_request\b", "handle_request"),
    (r"\b_aio\b", "_sync"),
    (r"Ctrl-C, a task's cancellation", "Ctrl-C"),
]


def derived(name: str) -> str:
    text = (PACKAGE / "_aio" / name).read_text(encoding="utf-8")
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text)
    return HEADER + text


def main() -> None:
    check = sys.argv[1:] == ["--check"]
    for name in MODULES:
        target = PACKAGE / "_sync" / name
        if check and (not target.exists() or target.read_text(encoding="utf-8") != derived(name)):
            raise SystemExit(f"{target}: is not what scripts/derive_sync.py makes")
        if not check:
            target.write_text(derived(name), encoding="utf-8")


if __name__ == "__main__":
    main()
