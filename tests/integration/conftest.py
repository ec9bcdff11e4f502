"""Private stacks for integration tests. All traffic is HTTP, as clients send it; nothing is mocked."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from funcatron.stack import samples
from funcatron.stack.folders import Folders
from tests.stack import PrivateStack, running
from tests.trial import build_trial, deploy


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sample bundles by name, built once for all tests (and kept in var/samples for the next run)."""
    folders = Folders(Path(__file__).parents[2] / "var")
    folders.samples.mkdir(parents=True, exist_ok=True)
    return {name: samples.built(name, folders, print) for name in samples.SAMPLES}


@pytest.fixture(scope="session")
def data_folder() -> Iterator[Path]:
    """A short folder for the stacks of a session; every user may pass it, so that unprivileged hosts can."""
    folder = Path(tempfile.mkdtemp(prefix="fn-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_stack(data_folder: Path) -> Iterator[PrivateStack]:
    """A stack that all tests of a session use: they must leave it as they found it."""
    with running(data_folder / "shared") as stack:
        yield stack


@pytest.fixture
def new_stack(tmp_path_factory: pytest.TempPathFactory, data_folder: Path) -> Iterator[PrivateStack]:
    """A stack of a test's own, not started yet; it is taken down at the end."""
    folder = Path(tempfile.mkdtemp(dir=data_folder))
    folder.chmod(0o755)
    stack = PrivateStack(folder / "var")
    yield stack
    stack.down()
    left = stack.processes()
    assert not left, f"processes are left: {left}"


@pytest.fixture(scope="session")
def trial(shared_stack: PrivateStack, tmp_path_factory: pytest.TempPathFactory) -> PrivateStack:
    """The shared stack with the trial bundle (tests/bundles/trial) deployed as `trial`."""
    deploy(shared_stack, build_trial(tmp_path_factory.mktemp("trial") / "trial.pex"), "trial")
    return shared_stack
