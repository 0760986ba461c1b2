"""Fixtures over the real parts."""

import hypothesis
import pytest
from real_parts import USER_CODE, Background, own_platform
from s3_server import UnavailableError, s3_server

from dspex import Client

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def background():
    with Background() as running:
        yield running


@pytest.fixture(scope="session")
def shared_platform(background, tmp_path_factory):
    """One for all tests that disturb none, with a worker."""
    with own_platform(background, tmp_path_factory.mktemp("platform")) as platform, platform.worker():
        yield platform


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    """An S3 server with a bucket."""
    try:
        with s3_server(tmp_path_factory.mktemp("s3")) as running:
            yield running
    except UnavailableError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def platform(shared_platform, monkeypatch):
    """The shared platform, with this process's environment pointing to it."""
    for name, value in shared_platform.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(USER_CODE)
    return shared_platform


@pytest.fixture
async def client(platform):
    async with await Client.connect() as connected:
        yield connected
