"""An environment of its own for each test: no data folder, no mirror, no seed."""

import pytest
import torch
from mirror import Mirror


@pytest.fixture
def cache(tmp_path):
    """The folder that stands for the platform's cache."""
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def _clean_room(monkeypatch, cache):
    for variable in ("AELAB_DATA", "AELAB_DATASET", "AELAB_MIRROR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: cache)
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.fixture
def mirror():
    """A server on 127.0.0.1 that is scripted by the test."""
    with Mirror() as server:
        yield server
