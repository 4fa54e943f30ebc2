"""Every spelling of a path of the workspace, in deepagents' terms."""

import pytest

pytest.importorskip("deepagents", reason="deepagents needs Python 3.11")

from stigmer.deepagents import StigmerSandbox
from stigmer.deepagents._paths import Paths


def test_the_root_itself_may_be_a_workspace():
    paths = Paths("w", "/", has_link=False)
    assert paths.prefix == "/"
    assert (paths.sent("/a//b/"), paths.inside("/a/b"), paths.inside("/")) == ("/a/b", "a/b", "")
    assert paths.relative_pattern("/a/*.py") == "a/*.py"
    assert paths.shown("a/b", "/a") == "/a/b"


@pytest.mark.parametrize("path", ["/w/./a", "/w//a/.", "/./w/a", "/link/a", "/link/./a/"])
def test_a_dot_and_a_link_are_other_spellings(path):
    paths = Paths("w", "/w", has_link=True, given="/link")
    assert paths.sent(path) == "/w/a"
    assert paths.inside(path) == "a"
    assert paths.sent("/w/.hidden/..x") == "/w/.hidden/..x"
    assert paths.sent("/workspace") == paths.sent("/link") == "/w"


def test_a_sandbox_behind_a_link_takes_both_of_its_names(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with StigmerSandbox(tmp_path / "link") as sandbox:
        for name in ("link", "real"):
            path = f"{tmp_path}/{name}/{name}.txt"
            assert sandbox.write(path, "needle").error is None
            assert sandbox.read(path).file_data["content"] == "needle"
            assert [m["path"] for m in sandbox.glob(f"{tmp_path}/{name}/{name}.*").matches] != []


def test_what_is_no_utf_8_can_be_sent_to_a_model(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"needle caf\xe9\n")
    with StigmerSandbox(tmp_path) as sandbox:
        [match] = sandbox.grep("needle").matches
        assert match["text"].strip() == "needle caf\ufffd"
        assert sandbox.write(f"{tmp_path}/x", "half \ud83d").error
        assert sandbox.grep("half \ud83d").error
        answers = sandbox.upload_files(
            [(f"{tmp_path}/a", b"1"), ("/b\ud800", b"2"), (f"{tmp_path}/c", b"3")]
        )
        assert [answer.error for answer in answers] == [None, "invalid_path", None]


def test_a_search_with_too_many_lines_says_so(tmp_path):
    (tmp_path / "many").write_text("needle\n" * 10_001)
    with StigmerSandbox(tmp_path) as sandbox:
        found = sandbox.grep("needle")
        assert "more than 10000 lines" in found.error
        assert {one["path"] for one in sandbox.glob("*/").matches} == set()
