"""A wheel with the programs in it, in an environment that knows nothing of the checkout.

The programs are those that STIGMER_WHEEL_BINARY and STIGMER_WHEEL_SIDECAR name, else those of the
suites, the debug build without its symbols: a release build takes minutes.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from documents import REPOSITORY, blocks
from sandbox_image import IMAGE, needs_image
from stigmer import _discovery

PACKAGE = REPOSITORY / "clients" / "python"
MOST_BYTES = 30 * 1000 * 1000
"""What a wheel may have: it is fetched for every new environment."""
NEW_ENVIRONMENT = 300


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def build(target, directory, source=PACKAGE, **variables):
    """Build and return the one file that this makes."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith("STIGMER_")}
    command = (sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(directory))
    run(*command, cwd=source, env={**kept, **variables})
    (made,) = directory.iterdir()
    return made


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    binary = os.environ.get("STIGMER_WHEEL_BINARY")
    if not binary:
        binary = str(tmp_path_factory.mktemp("programs") / "stigmer")
        run("strip", "-o", binary, _discovery.binary())
    sidecar = os.environ.get("STIGMER_WHEEL_SIDECAR") or os.environ["STIGMER_SIDECAR"]
    return {"STIGMER_WHEEL_BINARY": binary, "STIGMER_WHEEL_SIDECAR": sidecar}


@pytest.fixture(scope="module")
def wheel(programs, tmp_path_factory):
    return build("wheel", tmp_path_factory.mktemp("wheel"), **programs)


@pytest.fixture(scope="module")
def clean():
    """An environment in which nothing of ours is: a home of its own, and no variable but pip's."""
    home = Path(tempfile.mkdtemp(prefix="w-"))
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("PIP_") or name.lower().endswith("_proxy") or name == "TMPDIR"
    }
    yield {**kept, "HOME": str(home), "PATH": "/usr/bin:/bin"}
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def installed(wheel, clean, tmp_path_factory):
    """The directory in which the quick-start of the README was followed, and what it printed."""
    directory = tmp_path_factory.mktemp("fresh")
    (directory / "target" / "wheels").mkdir(parents=True)
    (directory / "target" / "wheels" / wheel.name).symlink_to(wheel)
    ((script, output),) = blocks("README.md", "sh")
    # The Python that this one is an environment of.
    python = Path(sys.base_prefix) / "bin"
    environment = {**clean, "PATH": f"{python}:{clean['PATH']}"}
    said = run("bash", "-euc", script, cwd=directory, env=environment, timeout=NEW_ENVIRONMENT)
    yield directory, said, output
    stigmer = directory / "venv" / "bin" / "stigmer"
    if stigmer.exists():
        run(stigmer, "server", "stop", "--now", env=clean)


def test_ten_lines_run_a_command_and_edit_a_file_with_no_other_step(installed):
    directory, said, output = installed
    assert said == output
    assert (directory / "greet.sh").read_text() == 'echo "Bye, $1"\n'
    ((script, _),) = blocks("README.md", "sh")
    inside = re.search(r"<<'END'\n(.*?)\nEND", script, re.DOTALL)
    assert len(inside.group(1).splitlines()) <= 10


def test_the_environment_has_the_command(installed, clean):
    directory, _, _ = installed
    scripts = directory / "venv" / "bin"
    environment = {**clean, "PATH": f"{scripts}:{clean['PATH']}"}
    assert run("stigmer", "run", "echo hello", env=environment, cwd=directory) == "hello\n"
    found = "import stigmer._discovery as found; print(found.binary())"
    assert run(scripts / "python", "-c", found, env=clean) == f"{scripts}/stigmer\n"


def test_it_may_lie_in_a_directory_of_its_own(wheel, clean, tmp_path):
    command = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps")
    run(*command, "--target", tmp_path, wheel, env=clean)
    found = "import stigmer._discovery as found; print(found.binary())"
    said = run(sys.executable, "-c", found, env={**clean, "PYTHONPATH": str(tmp_path)})
    assert said == f"{tmp_path}/bin/stigmer\n"


@needs_image
def test_its_sidecar_serves_a_container(installed, clean):
    directory, _, _ = installed
    code = (
        "import stigmer\n"
        f"settings = {{'sandbox_image': {IMAGE!r}}}\n"
        "workspace = stigmer.Client().workspace('.', mode='sandbox', settings=settings)\n"
        "print(workspace.execute('hostname').stdout.text, end='')\n"
        "workspace.remove()\n"
    )
    python = directory / "venv" / "bin" / "python"
    kept = {name: os.environ[name] for name in ("DOCKER_HOST",) if name in os.environ}
    said = run(python, "-c", code, env={**clean, **kept}, cwd=directory)
    assert said == "sandbox\n"


def test_it_is_small_and_for_the_systems_that_can_run_it(wheel):
    assert wheel.stat().st_size <= MOST_BYTES
    tag = re.fullmatch(r"stigmer-[\d.]+-py3-none-manylinux_(\d+)_(\d+)_(\w+)\.whl", wheel.name)
    assert tag, wheel.name
    assert tag.group(3) == os.uname().machine
    here = tuple(int(part) for part in os.confstr("CS_GNU_LIBC_VERSION").split()[1].split("."))
    assert (2, 17) <= (int(tag.group(1)), int(tag.group(2))) <= here
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if name.endswith("/scripts/stigmer-sidecar")]
    assert not [name for name in names if "tests" in name]


def test_uninstalling_leaves_nothing(installed, clean):
    directory, _, _ = installed
    scripts = directory / "venv" / "bin"
    run(scripts / "stigmer", "server", "stop", "--now", env=clean)
    run(scripts / "python", "-m", "pip", "uninstall", "--quiet", "--yes", "stigmer", env=clean)
    assert [path for path in (directory / "venv").rglob("*") if "stigmer" in path.name] == []


def test_a_package_without_programs_says_what_to_do(installed, clean, tmp_path):
    directory, _, _ = installed
    python = directory / "venv" / "bin" / "python"
    archive = build("sdist", tmp_path / "sdist")
    shutil.unpack_archive(archive, tmp_path / "source")
    (source,) = (tmp_path / "source").iterdir()
    bare = build("wheel", tmp_path / "bare", source=source)
    assert bare.name.endswith("-py3-none-any.whl")
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", bare, env=clean)
    code = "import stigmer; stigmer.Client().info()"
    done = subprocess.run(
        [python, "-c", code], env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "NotAvailableError: stigmer: the program is not installed" in done.stderr
    assert "make wheel" in done.stderr


def test_a_wheel_has_all_programs_or_none(programs, tmp_path):
    with pytest.raises(AssertionError, match="STIGMER_WHEEL_SIDECAR: not set"):
        build("wheel", tmp_path, STIGMER_WHEEL_BINARY=programs["STIGMER_WHEEL_BINARY"])
    other = {**programs, "STIGMER_WHEEL_SIDECAR": "/nowhere"}
    with pytest.raises(AssertionError, match="/nowhere: no executable file"):
        build("wheel", tmp_path, **other)


@pytest.fixture
def hook():
    spec = importlib.util.spec_from_file_location("hook", PACKAGE / "scripts" / "wheel_hook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_platform_is_what_the_programs_ask_for(hook, programs, tmp_path):
    sidecar = programs["STIGMER_WHEEL_SIDECAR"]
    assert hook.c_library_of(sidecar) == (0, 0), "it is static"
    assert hook.platform_of([sidecar]) == f"manylinux_2_17_{os.uname().machine}"
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    with pytest.raises(SystemExit, match="no program for x86_64 or aarch64"):
        hook.platform_of([str(script)])


def test_what_the_programs_ask_for_is_read_as_readelf_says_it(hook, monkeypatch):
    said = {
        "--dynamic": " 0x1 (NEEDED)  Shared library: [libc.so.6]\n",
        "--version-info": "  Name: GLIBC_2.9  Flags: none\n  Name: GLIBC_2.34  Flags: none\n",
    }
    monkeypatch.setattr(hook, "readelf", lambda what, program: said[what])
    assert hook.c_library_of("x") == (2, 34)
    said["--version-info"] += "  Name: GLIBC_ABI_DT_RELR  Flags: none\n"
    assert hook.c_library_of("x") == (2, 36)
    said["--dynamic"] += " 0x1 (NEEDED)  Shared library: [libssl.so.3]\n"
    with pytest.raises(SystemExit, match=r"needs libssl\.so\.3"):
        hook.c_library_of("x")
