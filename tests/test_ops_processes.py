"""The op among threads, processes, copies and files.

One generator may serve many threads, a process may fork, and a module that calls the
op is pickled, copied and saved like any other.
"""

import copy
import io
import multiprocessing
import pickle
import threading

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from aelab import ops

ZEROS = torch.zeros(4, 8)


class Sampler(nn.Module):
    """A layer that samples, small enough to see through."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, x):
        mu, logvar = self.layer(x).chunk(2, dim=1)
        return ops.reparam_kl(mu, logvar)


class Noise(Dataset):
    """Examples that draw their noise in the worker that loads them."""

    def __len__(self):
        return 32

    def __getitem__(self, index):
        return ops.reparam_kl(ZEROS, ZEROS)[0]


def noise(generator):
    return ops.reparam_kl(ZEROS, ZEROS, generator=generator)[0]


def sample(model, x, seed=0):
    torch.manual_seed(seed)
    return model(x)


def in_child(connection, state):
    """Draw after a fork; the parent compares."""
    torch.set_num_threads(1)
    torch.set_rng_state(state)
    z, _ = ops.reparam_kl(ZEROS, ZEROS)
    connection.send(z.tolist())
    connection.close()


@pytest.mark.parametrize("calls", [200])
def test_threads_that_share_a_generator_never_draw_the_same(calls):
    """Rejects a seed that is read and advanced without the generator's mutex."""
    generator, drawn = torch.Generator().manual_seed(0), [[] for _ in range(8)]
    start = threading.Barrier(8)

    def work(own):
        start.wait()
        own += [noise(generator) for _ in range(calls)]

    workers = [threading.Thread(target=work, args=(own,)) for own in drawn]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
        assert not worker.is_alive(), "a thread waits for a mutex for ever"
    rows = torch.stack([z for own in drawn for z in own]).flatten(1)
    assert len(rows.unique(dim=0)) == 8 * calls, "two calls drew the same noise"
    alone = torch.Generator().manual_seed(0)
    expected = torch.stack([noise(alone) for _ in range(8 * calls)]).flatten(1)
    assert torch.equal(rows.unique(dim=0), expected.unique(dim=0)), "a seed was skipped"


def test_a_forked_child_draws_what_the_parent_would():
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    child = context.Process(target=in_child, args=(sender, state))
    child.start()
    assert receiver.poll(60), "the child does not answer"
    theirs = torch.tensor(receiver.recv())
    child.join(60)
    assert child.exitcode == 0
    assert torch.equal(theirs, ops.reparam_kl(ZEROS, ZEROS)[0])


def test_workers_of_a_data_loader_draw_apart():
    """Rejects noise that depends on the process's first seed alone."""
    torch.manual_seed(0)
    loader = DataLoader(Noise(), batch_size=8, num_workers=2, timeout=60)
    rows = torch.cat(list(loader)).flatten(1)
    assert len(rows.unique(dim=0)) == 32


@pytest.mark.parametrize("way", ["pickle", "deepcopy", "torch.save", "state_dict"])
def test_a_module_that_samples_is_copied_whole(way):
    model, x = Sampler(), torch.randn(3, 8)
    if way == "pickle":
        twin = pickle.loads(pickle.dumps(model))
    elif way == "deepcopy":
        twin = copy.deepcopy(model)
    elif way == "torch.save":
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        twin = torch.load(file, weights_only=False)
    else:
        twin = Sampler()
        twin.load_state_dict(model.state_dict())
    for ours, theirs in zip(sample(model, x), sample(twin, x), strict=True):
        assert torch.equal(ours, theirs)


def test_outputs_are_saved_and_the_graph_is_not():
    mu = ZEROS.clone().requires_grad_()
    z, kl = ops.reparam_kl(mu, ZEROS)
    file = io.BytesIO()
    torch.save((z, kl), file)
    file.seek(0)
    for ours, theirs in zip((z, kl), torch.load(file), strict=True):
        assert torch.equal(ours, theirs)
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(z)  # as for any tensor that a graph made


def test_functional_call_uses_the_parameters_that_it_is_given():
    model, x = Sampler(), torch.randn(3, 8)
    zeros = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    torch.manual_seed(0)
    z, kl = torch.func.functional_call(model, zeros, (x,))
    torch.manual_seed(0)
    noise, _ = ops.reparam_kl(torch.zeros(3, 2), torch.zeros(3, 2))
    assert torch.equal(z, noise)
    assert kl.abs().max() == 0


def test_deterministic_algorithms_are_no_obstacle():
    torch.use_deterministic_algorithms(True)
    try:
        first = sample(Sampler(), torch.ones(3, 8))
        mu = ZEROS.clone().requires_grad_()
        z, kl = ops.reparam_kl(mu, ZEROS)
        (z.sum() + kl.sum()).backward()
    finally:
        torch.use_deterministic_algorithms(False)
    assert len(first) == 2
    assert torch.equal(mu.grad, torch.ones_like(mu))


def test_an_exported_program_keeps_the_op():
    """Rejects noise that export would freeze: two runs must differ."""
    program = torch.export.export(Sampler(), (torch.randn(3, 8),)).module()
    x = torch.randn(3, 8)
    torch.manual_seed(0)
    first, again = program(x)[0], program(x)[0]
    torch.manual_seed(0)
    assert torch.equal(program(x)[0], first)
    assert not torch.equal(first, again)
