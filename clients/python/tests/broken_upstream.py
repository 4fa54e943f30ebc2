"""Cases of langchain's suite that deepagents itself broke, as broken_upstream.txt has them."""

import importlib.metadata
from pathlib import Path


def _version(text):
    return tuple(int(part) for part in text.split(".")[:3])


def broken(text, installed):
    """Return the cases that this version of deepagents broke, and why."""
    cases = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            about, why = line.split(": ", 1)
            since, case = about.split(", ")
            if _version(installed) >= _version(since):
                cases[case] = why.strip()
    return cases


def broken_now():
    """Return the cases that the deepagents that is installed broke, and why."""
    text = Path(__file__).with_suffix(".txt").read_text()
    try:
        return broken(text, importlib.metadata.version("deepagents"))
    except importlib.metadata.PackageNotFoundError:
        return {}
