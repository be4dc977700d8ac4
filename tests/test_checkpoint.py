"""Training on file: the round trip, and every way in which a file can be wrong."""

import errno
import json
import os
import re

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.testing import assert_close

from aelab import checkpoint

SETTINGS = {"seed": 3}


def parts(kind=torch.optim.Adam, seed=0, width=4):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width))
    return model, kind(model.parameters(), lr=0.1), torch.Generator().manual_seed(seed)


def work(model, optimizer, generator, steps=3):
    for _ in range(steps):
        x = torch.randn(8, 3, generator=generator)
        optimizer.zero_grad()
        (model(x) - x.sum()).square().sum().backward()
        optimizer.step()
    return model


OPTIMIZERS = {
    "Adam": torch.optim.Adam,
    "fused Adam": lambda p, lr: torch.optim.Adam(p, lr, fused=True),
    "SGD": torch.optim.SGD,
    "SGD with momentum": lambda p, lr: torch.optim.SGD(p, 1e-3, momentum=0.9),
    "RMSprop": torch.optim.RMSprop,
    "NAdam": torch.optim.NAdam,
}


# Shape and dtype


def test_dtypes_and_shapes_survive(tmp_path):
    one, two = parts(), parts(seed=1)
    work(*one)
    checkpoint.save(tmp_path / "file", one, SETTINGS)
    checkpoint.load(tmp_path / "file", two, SETTINGS)
    for (name, a), b in zip(
        one[0].state_dict().items(), two[0].state_dict().values(), strict=True
    ):
        assert a.dtype == b.dtype, name
        assert torch.equal(a, b), name


# Value against an outside oracle


def test_the_file_is_plain_safetensors(tmp_path):
    one = parts()
    checkpoint.save(tmp_path / "file", one, {"history": [1.5]})
    tensors = safetensors.torch.load_file(tmp_path / "file")
    assert torch.equal(tensors["model.0.weight"], one[0][0].weight)
    with safetensors.safe_open(tmp_path / "file", framework="pt") as file:
        assert json.loads(file.metadata()["about"]) == {"history": [1.5]}


# Property


@pytest.mark.parametrize("kind", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_going_on_gives_the_bits_of_one_run(tmp_path, kind):
    whole = work(*parts(kind), steps=7)
    first, second = parts(kind), parts(kind, seed=5)
    work(*first, steps=4)
    checkpoint.save(tmp_path / "file", first, SETTINGS)
    assert checkpoint.load(tmp_path / "file", second, SETTINGS) == SETTINGS
    resumed = work(*second, steps=3)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_shared_and_strided_tensors_can_be_saved(tmp_path):
    layer = nn.Linear(4, 4)
    layer.weight.data = layer.weight.data.T
    model = nn.Sequential(layer, layer)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = layer.weight.detach().clone()
    state = (model, optimizer, torch.Generator())
    checkpoint.save(tmp_path / "file", state, {})
    nn.init.zeros_(layer.weight)
    checkpoint.load(tmp_path / "file", state, {})
    assert_close(layer.weight.detach(), before)
    assert model[0] is model[1]


# Error


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    checkpoint.save(path, parts(), SETTINGS)
    old = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(path, parts(seed=1), SETTINGS)
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["file"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"file .*nowhere, but got none; train"):
        checkpoint.load(tmp_path / "nowhere", parts(), SETTINGS)


def damaged(path):
    path.write_bytes(path.read_bytes()[:-10])


def unlike(path):
    safetensors.torch.save_file({"a": torch.zeros(1)}, path, {"format": "pt"})


def bare(path):
    safetensors.torch.save_file({"a": torch.zeros(1)}, path)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [damaged, unlike, bare, empty])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, spoil):
    path = tmp_path / "file"
    checkpoint.save(path, parts(), SETTINGS)
    spoil(path)
    with pytest.raises(ValueError, match=re.escape(f"expected {path} to hold this")):
        checkpoint.load(path, parts(), SETTINGS)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "file"
    checkpoint.save(path, parts(), SETTINGS)
    with pytest.raises(ValueError, match="but got one of seed = 3, not 4; resume with"):
        checkpoint.load(path, parts(), {"seed": 4})
    with pytest.raises(ValueError, match=r"size mismatch for 0\.weight"):
        checkpoint.load(path, parts(width=5), SETTINGS)
