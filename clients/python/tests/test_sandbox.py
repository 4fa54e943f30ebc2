"""A workspace in a container keeps what was said of it, whatever becomes of the daemon."""

import subprocess

import pytest

import stigmer
from sandbox_image import IMAGE, needs_image
from stigmer import _discovery, errors

pytestmark = needs_image


# The variable tells its container from one that a daemon would make by its own settings. No server
# keeps it: it may be secret.
SETTINGS = {"sandbox_image": IMAGE, "sandbox_environment": "MARK=ours"}
MARK = "echo ${MARK-none}"


@pytest.fixture(autouse=True)
def no_container_stays(client, tmp_path):
    yield
    client.workspace(tmp_path, mode="sandbox").remove()


@pytest.fixture
def sandbox(client, tmp_path):
    return client.workspace(tmp_path, mode="sandbox", settings=SETTINGS)


def stop_daemon():
    subprocess.run([_discovery.binary(), "server", "stop"], check=True, capture_output=True)


def test_the_next_daemon_has_it_as_the_last_one_did(sandbox):
    assert sandbox.execute(f"touch /tmp/kept; {MARK}").stdout.text == "ours\n"
    stop_daemon()
    assert sandbox.execute(MARK).stdout.text == "ours\n"
    assert sandbox.execute("ls /tmp/kept").exit_code == 0, "it is the same container"


def test_one_that_was_removed_is_made_the_same_again(sandbox):
    assert sandbox.execute(MARK).stdout.text == "ours\n"
    sandbox.remove()
    assert sandbox.execute(MARK).stdout.text == "ours\n"


async def test_with_async_too(tmp_path):
    async with stigmer.AsyncClient() as client:
        workspace = await client.workspace(tmp_path, mode="sandbox", settings=SETTINGS)
        await workspace.write_file("a", "x")
        stop_daemon()
        assert (await workspace.execute(MARK)).stdout.text == "ours\n"


def test_one_that_cannot_be_had_is_never_another(client, tmp_path):
    settings = {"sandbox_image": "stigmer-no-such-image:local", "sandbox_auto_pull": "false"}
    workspace = client.workspace(tmp_path, mode="sandbox", settings=settings)
    for _ in range(3):
        with pytest.raises(errors.StigmerError, match="stigmer-no-such-image"):
            workspace.execute("touch was-run")
    assert not (tmp_path / "was-run").exists()


def test_what_is_kept_is_everybodys_and_what_is_said_is_not(client, tmp_path):
    first = client.workspace(tmp_path, mode="sandbox", settings={"sandbox_image": IMAGE})
    assert list(first.prepare("create"))[-1].status.image == IMAGE
    client.workspace(tmp_path, mode="sandbox", settings=SETTINGS)
    other = client.workspace(tmp_path, mode="sandbox")
    assert other.execute(MARK).stdout.text == "none\n"
    assert other.status().image == IMAGE


def test_a_setting_that_is_none_is_refused(client, tmp_path):
    with pytest.raises(errors.BadConfigurationError, match="sandbox_colour"):
        client.workspace(tmp_path, mode="sandbox", settings={"sandbox_colour": "red"}).execute(
            "true"
        )
    with pytest.raises(errors.StigmerError, match="sandbox_image"):
        client.workspace(tmp_path, mode="local", settings={"sandbox_image": IMAGE})


def test_to_ask_how_it_is_makes_none(client, tmp_path):
    workspace = client.workspace(tmp_path, mode="sandbox", settings={"sandbox_image": IMAGE})
    assert workspace.status().state == "gone"
    assert workspace.list_processes() == ()
    assert workspace.status().state == "gone"
