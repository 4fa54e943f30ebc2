"""Whether this machine can run the sandbox suites, and in which image."""

import os
import subprocess

import pytest

IMAGE = os.environ.get("STIGMER_TEST_IMAGE", "stigmer-sandbox-basic:local")


def _why_not():
    try:
        found = subprocess.run(
            ["docker", "image", "inspect", IMAGE], capture_output=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no docker: {error}"
    return None if found.returncode == 0 else f"no image {IMAGE}"


_REASON = _why_not()
if _REASON and os.environ.get("CI"):
    raise RuntimeError(f"the sandbox suites cannot run: {_REASON}")
needs_image = pytest.mark.skipif(_REASON is not None, reason=str(_REASON))
