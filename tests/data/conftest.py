"""An environment of its own for each test: no data folder, no seed."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _clean_room(monkeypatch):
    monkeypatch.delenv("AELAB_DATA", raising=False)
    monkeypatch.delenv("AELAB_DATASET", raising=False)
    with torch.random.fork_rng(devices=[]):
        yield
