"""Skills of a workspace."""

import io
import os
import tarfile

import pytest

import stigmer
from stigmer import _packing, errors

SKILL = "---\nname: greet\ndescription: Greets somebody by name\n---\nRun greet.sh.\n"


@pytest.fixture
def source(tmp_path_factory):
    directory = tmp_path_factory.mktemp("source")
    (directory / "SKILL.md").write_text(SKILL)
    script = directory / "bin" / "greet.sh"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\necho "Good day, $1"\n')
    script.chmod(0o755)
    return directory


def test_a_skill_is_added_read_run_and_removed(workspace, source):
    assert workspace.skills() == ()
    added = workspace.add_skill(source)
    assert added.change == "added"
    skill = added.skill
    assert (skill.name, skill.description) == ("greet", "Greets somebody by name")
    assert (skill.files, skill.problem) == (2, None)
    assert workspace.skills() == (skill,)
    assert skill.path.startswith(f"{workspace.root}/")
    assert skill.path == f"{skill.source}/greet"
    assert workspace.read_file(f"{skill.path}/SKILL.md").text == SKILL
    assert workspace.execute([f"{skill.path}/bin/greet.sh", "Ada"]).stdout.text == "Good day, Ada\n"
    assert workspace.add_skill(str(source)).change == "unchanged"
    (source / "more").write_text("x")
    assert workspace.add_skill(source).change == "replaced"
    assert not workspace.remove_skill("greet").was_already_removed
    assert workspace.remove_skill("greet").was_already_removed
    assert workspace.skills() == ()


def test_an_archive_is_a_skill_too(workspace, source, tmp_path):
    digest = workspace.add_skill(source).skill.digest
    for name, mode in (("skill.tar", "w"), ("skill.tar.gz", "w:gz")):
        path = tmp_path / name
        with tarfile.open(path, mode) as tar:
            tar.add(source, arcname="greet")
        again = workspace.add_skill(path)
        assert (again.change, again.skill.digest) == ("unchanged", digest)


def test_git_does_not_see_skills(workspace, source):
    workspace.execute("git init -q .")
    workspace.add_skill(source)
    assert workspace.execute("git status --porcelain").stdout.text == ""


def test_what_is_no_skill_is_refused_and_leaves_nothing(workspace, source, tmp_path):
    with pytest.raises(errors.NotFoundError):
        workspace.add_skill(tmp_path / "absent")
    (source / "link").symlink_to("/etc/passwd")
    with pytest.raises(errors.OutsideWorkspaceError) as raised:
        workspace.add_skill(source)
    assert "link" in raised.value.message
    (source / "link").unlink()
    os.mkfifo(source / "pipe")
    with pytest.raises(errors.InvalidArgumentError, match="pipe"):
        workspace.add_skill(source)
    (source / "pipe").unlink()
    (source / "SKILL.md").write_text("no head")
    with pytest.raises(errors.InvalidArgumentError, match=r"SKILL\.md"):
        workspace.add_skill(source)
    evil = tmp_path / "evil.tar"
    with tarfile.open(evil, "w") as tar:
        info = tarfile.TarInfo("../evil")
        tar.addfile(info, io.BytesIO())
    with pytest.raises(errors.OutsideWorkspaceError):
        workspace.add_skill(evil)
    with pytest.raises(errors.InvalidArgumentError):
        workspace.remove_skill("../evil")
    assert workspace.skills() == ()
    assert not os.path.exists(f"{workspace.root}/.stigmer")


def test_what_is_far_too_large_is_not_read(workspace, source, monkeypatch):
    (source / "large").write_bytes(bytes(17 << 20))
    with pytest.raises(errors.TooLargeError, match="large"):
        workspace.add_skill(source)
    monkeypatch.setattr(_packing, "MOST", 1 << 20)
    with pytest.raises(errors.TooLargeError, match="1048576"):
        workspace.add_skill(source)
    with pytest.raises(errors.TooLargeError, match="1048576"):
        workspace.add_skill(source / "large")


async def test_with_async_it_is_the_same(tmp_path, source):
    async with stigmer.AsyncClient() as client:
        workspace = await client.workspace(tmp_path)
        added = await workspace.add_skill(source)
        assert await workspace.skills() == (added.skill,)
        assert not (await workspace.remove_skill("greet")).was_already_removed


def test_deepagents_finds_them(tmp_path, source):
    pytest.importorskip("deepagents", reason="deepagents needs Python 3.11")
    from deepagents.middleware.skills import SkillsMiddleware

    from stigmer.deepagents import StigmerSandbox

    with StigmerSandbox(tmp_path, mode="local") as sandbox:
        skill = sandbox.workspace.add_skill(source).skill
        middleware = SkillsMiddleware(backend=sandbox, sources=sandbox.skill_sources())
        found = middleware.before_agent({}, None, {})["skills_metadata"]
        assert [one["name"] for one in found] == ["greet"]
        assert found[0]["path"] == f"{skill.path}/SKILL.md"
        assert sandbox.read(found[0]["path"]).error is None
        assert sandbox.execute(f"{skill.path}/bin/greet.sh Ada").output == "Good day, Ada\n"
