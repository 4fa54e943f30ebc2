"""Files through the client."""

import io
import os
import tarfile

import pytest

from stigmer import Edit, errors


def test_ten_lines_run_a_command_and_edit_a_file(workspace):
    workspace.write_file("greet.py", 'print("Hello")\n')
    edited = workspace.edit_file("greet.py", old="Hello", new="Bye")
    assert edited.occurrences == (1,)
    assert '+print("Bye")' in edited.diff
    done = workspace.execute("cat greet.py")
    assert (done.exit_code, done.stdout.text) == (0, 'print("Bye")\n')


def test_a_file_is_read_by_lines(workspace):
    workspace.write_file("lines", "one\ntwo\nthree\n")
    found = workspace.read_file("lines", first_line=2, last_line=2)
    assert (found.text, found.start_line, found.next_line, found.total_lines) == ("two\n", 2, 3, 3)


def test_bytes_that_are_no_text_come_back_as_they_were(workspace):
    content = bytes(range(256))
    workspace.write_file("bytes", content)
    found = workspace.read_file("bytes")
    assert (found.content, found.encoding) == (content, "base64")
    with pytest.raises(UnicodeDecodeError):
        _ = found.text


def test_a_name_that_is_no_utf8_is_a_name(workspace):
    name = os.fsdecode(b"caf\xe9")
    workspace.write_file(name, "x")
    (entry,) = workspace.list_directory().entries
    assert entry.path == name
    assert workspace.read_file(entry.path).text == "x"
    assert workspace.read_file(b"caf\xe9").text == "x"
    workspace.upload(name, b"y")
    assert workspace.download_bytes(name) == b"y"


def test_an_error_is_of_its_kind_and_says_what_to_do(workspace):
    with pytest.raises(errors.NotFoundError) as caught:
        workspace.read_file("absent")
    error = caught.value
    assert isinstance(error, FileNotFoundError)
    assert (error.code, error.retryable) == ("not_found", False)
    assert "absent" in error.message
    assert error.hint
    assert error.hint in str(error)
    assert error.details == {"path": "absent"}


def test_what_was_changed_meanwhile_is_not_overwritten(workspace):
    first = workspace.write_file("file", "one")
    workspace.write_file("file", "two")
    with pytest.raises(errors.StaleError):
        workspace.write_file("file", "three", expected_sha256=first.sha256)
    with pytest.raises(errors.ExistsError):
        workspace.write_file("file", "three", create_only=True)
    assert workspace.read_file("file").text == "two"


def test_edits_are_all_done_or_none(workspace):
    workspace.write_file("file", "a b c")
    with pytest.raises(errors.TextNotFoundError):
        workspace.edit_file("file", edits=[Edit("a", "1"), Edit("x", "2")])
    assert workspace.read_file("file").text == "a b c"
    done = workspace.edit_file("file", edits=[Edit("a", "1"), Edit("b", "2")])
    assert done.occurrences == (1, 1)
    with pytest.raises(TypeError):
        workspace.edit_file("file", old="a")


def test_paths_are_made_moved_and_deleted(workspace):
    workspace.make_directory("a/b", parents=True)
    workspace.write_file("a/b/c", "x")
    assert workspace.stat_file("a/b/c").size == 1
    workspace.move_path("a/b/c", "d")
    assert [entry.path for entry in workspace.list_directory(depth=3).entries] == ["a", "a/b", "d"]
    with pytest.raises(errors.DirectoryNotEmptyError):
        workspace.delete_file("a")
    workspace.delete_file("a", recursive=True)
    assert workspace.delete_file("a").was_already_deleted


def test_no_path_leads_out(workspace):
    with pytest.raises(errors.OutsideWorkspaceError):
        workspace.read_file("../../etc/passwd")


def test_names_and_contents_are_found(workspace):
    workspace.write_file("src/main.py", "def main():\n    pass\n")
    workspace.write_file("notes.md", "main thing\n")
    assert workspace.find("mainpy").paths == ("src/main.py",)
    assert workspace.find("*.md", glob=True).paths == ("notes.md",)
    found = workspace.grep(r"def (\w+)", include=["*.py"])
    assert [(match.path, match.line, match.column) for match in found.matches] == [
        ("src/main.py", 1, 1)
    ]
    assert workspace.grep("nothing like it").matches == ()
    with pytest.raises(errors.BadRegexError):
        workspace.grep("(")


def test_a_file_of_any_size_goes_in_and_out(workspace):
    content = os.urandom(1024) * (12 * 1024)
    assert workspace.upload("large", content).bytes == len(content)
    assert workspace.download_bytes("large") == content
    assert workspace.upload("again", io.BytesIO(content)).bytes == len(content)
    assert workspace.upload("pieces", (content[:5], content[5:10])).bytes == 10


def test_a_tree_goes_in_and_out(workspace):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("d/f")
        entry.size = 2
        archive.addfile(entry, io.BytesIO(b"hi"))
    assert workspace.upload("tree", packed.getvalue(), format="tar").files == 1
    back = workspace.download_bytes("tree", format="tar")
    with tarfile.open(fileobj=io.BytesIO(back)) as archive:
        assert archive.extractfile("d/f").read() == b"hi"


def test_an_upload_that_breaks_off_changes_nothing(workspace):
    workspace.write_file("file", "before")

    def pieces():
        yield b"half"
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError):
        workspace.upload("file", pieces())
    assert workspace.read_file("file").text == "before"


def test_changes_are_seen_from_when_the_watch_is_in_place(workspace):
    changes = workspace.watch()
    workspace.write_file("new", "x")
    change = next(change for change in changes if change.path == "new")
    assert change.kind == "created"
    changes.close()
