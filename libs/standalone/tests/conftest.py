"""State folders short enough for Unix sockets."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from datalabs_standalone.state import StateFolder
from datalabs_standalone.testing import Heard


@pytest.fixture
def state() -> Iterator[StateFolder]:
    folder = Path(tempfile.mkdtemp(prefix="dl-", dir="/tmp"))
    made = StateFolder.at(folder / "s")
    made.check_and_make(min_free_bytes=0)
    yield made
    shutil.rmtree(folder)


@pytest.fixture
def heard() -> Heard:
    return Heard()
