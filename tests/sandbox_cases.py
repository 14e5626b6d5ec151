"""What tests of sandboxed programs share."""

import os
import shutil

import pytest

from paradigm.verifiers import Sandbox, SandboxUnavailable


def require_sandbox() -> None:
    """Skips the tests of a module where no sandbox can be made; in CI, where bubblewrap is there, that is a failure."""
    try:
        Sandbox()
    except SandboxUnavailable as error:
        if os.environ.get("CI") and shutil.which("bwrap"):
            raise
        pytest.skip(str(error), allow_module_level=True)
