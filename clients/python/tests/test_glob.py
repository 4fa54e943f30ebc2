"""Our globs against Python's own, in trees and with patterns made at random."""

import glob as python
import os
import random

import pytest

from stigmer import _glob

NAMES = ["a", "b", "ab", ".h", "a.py", "[x]", "c d", "é"]
PARTS = ["*", "**", "a", "a*", "?", "[ab]", "[!a]*", ".*", "*.py", "[[]x]", "[x", "*b*", "[a-b]?"]


def listed(root):
    for directory, directories, names in os.walk(root):
        for name in directories + names:
            yield os.path.relpath(os.path.join(directory, name), root)


@pytest.mark.parametrize("seed", range(40))
def test_globs_match_what_pythons_match(tmp_path, seed):
    chance = random.Random(seed)
    for _ in range(15):
        parts = [chance.choice(NAMES) for _ in range(chance.randint(1, 3))]
        directory = tmp_path.joinpath(*parts)
        if not any(parent.is_file() for parent in [directory, *directory.parents]):
            directory.parent.mkdir(parents=True, exist_ok=True)
            if not directory.exists() and chance.random() < 0.6:
                directory.write_text("x")
    paths = sorted(listed(tmp_path))
    for _ in range(40):
        pattern = "/".join(chance.choice(PARTS) for _ in range(chance.randint(1, 3)))
        found = _glob.parse(pattern)
        ours = {path for path in paths if found.matches(path)}
        theirs = {
            one
            for one in python.glob(pattern, root_dir=tmp_path, recursive=True)
            if not one.endswith("/")  # `a/**` is what is beneath `a`, and not `a/` itself
        }
        assert ours == theirs, pattern
        for path in ours:
            beneath = path[len(found.base) :].lstrip("/") if found.base else path
            assert beneath.count("/") < found.depth
