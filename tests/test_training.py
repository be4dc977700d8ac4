"""The loop: against one written by hand, interrupted, resumed, and misused."""

import math
import re

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from aelab import training


class Linear(nn.Module):
    """The smallest thing that can be trained; knows its mode, as dropout would."""

    def __init__(self, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.w = nn.Parameter(torch.randn(3, 3, generator=generator))
        self.modes = []

    def forward(self, x):
        self.modes.append(self.training)
        return x @ self.w


def plain(model, x, generator):
    error = (model(x) - x).square().sum(dim=1)
    return {"loss": error, "half": error.detach() / 2}


def noisy(model, x, generator):
    x_noisy = x + torch.randn(x.shape, generator=generator)
    return {"loss": (model(x_noisy) - x).square().sum(dim=1)}


def steeper(epoch):
    """The objective of an epoch: a noisy error, and a pull that grows with it."""

    def objective(model, x, generator):
        pull = epoch * model.w.square().sum().expand(len(x))
        return {"loss": noisy(model, x, generator)["loss"] + pull, "pull": pull}

    return objective


def draw(n=50, seed=0):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))


def fit(model=None, objective=plain, train=None, **options):
    train = draw() if train is None else train
    options = {"epochs": 3, "batch_size": 16, "lr": 0.1} | options
    return training.fit(model or Linear(), objective, train, **options)


def raising(error, call):
    """The plain objective, but its call of this number, from 1, raises."""
    calls = []

    def objective(model, x, generator):
        calls.append(len(x))
        if len(calls) == call:
            raise error
        return plain(model, x, generator)

    return objective


def poisoned(value, call):
    calls = []

    def objective(model, x, generator):
        calls.append(len(x))
        terms = plain(model, x, generator)
        return {"loss": terms["loss"] * (value if len(calls) == call else 1)}

    return objective


# Shape and dtype


def test_history_has_one_mean_an_epoch_and_term():
    history = fit(validation=draw(7))
    for curves in (history.train, history.validation):
        assert set(curves) == {"loss", "half"}
        assert [len(means) for means in curves.values()] == [3, 3]
        assert all(type(mean) is float for mean in curves["loss"])
    assert len(history) == 3
    assert fit().validation == {}


def test_float64_stays_float64():
    model = Linear().double()
    fit(model, train=draw().double())
    assert model.w.dtype == torch.float64


def test_an_object_with_x_is_a_training_set():
    class Images:
        x = draw()

    assert fit(train=Images()).train == fit(train=draw()).train
    means = training.evaluate(Linear(), plain, Images())
    assert means == training.evaluate(Linear(), plain, draw())


# Value against an outside oracle


@pytest.mark.parametrize("objective", [plain, noisy])
@pytest.mark.parametrize("batch_size", [16, 25, None])
def test_fit_is_the_loop_written_by_hand(objective, batch_size):
    x, model, by_hand = draw(), Linear(), Linear()
    history = fit(model, objective, batch_size=batch_size, seed=4)
    generator = torch.Generator().manual_seed(4)
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=0.1, fused=True)
    means = []
    for _ in range(3):
        order, total = torch.randperm(50, generator=generator), 0.0
        for start in range(0, 50, batch_size or 50):
            rows = x[order[start : start + (batch_size or 50)]]
            losses = objective(by_hand, rows, generator)["loss"]
            optimizer.zero_grad()
            losses.mean().backward()
            optimizer.step()
            total += losses.sum().item()
        means.append(total / 50)
    assert torch.equal(model.w, by_hand.w)
    assert history.train["loss"] == pytest.approx(means, rel=1e-6)


def test_one_full_step_of_descent_is_the_formula():
    """loss = |x W - x|^2 has the gradient 2 x^T (x W - x) / n."""
    model, x = Linear(), draw()
    w = model.w.detach().clone()
    fit(model, epochs=1, batch_size=None, optimizer=torch.optim.SGD)
    assert_close(model.w.detach(), w - 0.1 * 2 * x.T @ (x @ w - x) / 50)


def test_fused_adam_is_adam():
    one, two = Linear().double(), Linear().double()
    fit(one, train=draw().double())
    fit(two, train=draw().double(), optimizer=torch.optim.Adam)
    assert_close(one.w, two.w, rtol=1e-9, atol=1e-12)


def test_descent_finds_what_least_squares_finds():
    x = draw(200)
    target = x @ torch.arange(9.0).reshape(3, 3)

    def objective(model, rows, generator):
        return {"loss": (model(rows[:, :3]) - rows[:, 3:]).square().sum(dim=1)}

    model = Linear()
    fit(model, objective, torch.cat([x, target], 1), epochs=300, batch_size=None)
    expected = torch.linalg.lstsq(x, target).solution
    assert (model.w - expected).abs().max() < 0.02


@pytest.mark.parametrize("batch_size", [16, None])
def test_a_schedule_is_the_loop_written_by_hand(batch_size):
    x, model, by_hand = draw(), Linear(), Linear()
    schedule = training.Schedule(steeper)
    unseen = draw(7, seed=1)
    history = fit(model, schedule, batch_size=batch_size, seed=4, validation=unseen)
    generator = torch.Generator().manual_seed(4)
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=0.1, fused=True)
    for epoch in range(3):
        for index in torch.randperm(50, generator=generator).split(batch_size or 50):
            optimizer.zero_grad()
            steeper(epoch)(by_hand, x[index], generator)["loss"].mean().backward()
            optimizer.step()
        last = training.evaluate(by_hand, steeper(epoch), unseen, seed=4)
        assert history.validation["loss"][epoch] == last["loss"]
        assert history.validation["pull"][epoch] == last["pull"]
    assert torch.equal(model.w, by_hand.w)
    assert history.train["pull"][0] == 0 < history.train["pull"][1]


def test_evaluate_is_the_mean_over_all_examples():
    model, x = Linear(), draw(10)
    by_hand = (model(x) - x).square().sum(dim=1).mean().item()
    for batch_size in (1, 3, 10, 99):
        means = training.evaluate(model, plain, x, batch_size=batch_size)
        assert means["loss"] == pytest.approx(by_hand, rel=1e-6)
        assert means["half"] == pytest.approx(by_hand / 2, rel=1e-6)


# Property


@pytest.mark.parametrize("objective", [plain, noisy])
def test_the_seed_decides_and_nothing_else(objective):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one, same, other = Linear(), Linear(), Linear()
    fit(one, objective, seed=5)
    assert torch.equal(torch.get_rng_state(), state), "a global generator was used"
    torch.manual_seed(2)
    fit(same, objective, seed=5, progress=False, validation=draw(7))
    fit(other, objective, seed=6)
    assert torch.equal(one.w, same.w)
    assert not torch.equal(one.w, other.w)


def test_every_example_is_seen_once_an_epoch():
    seen = []

    def objective(model, x, generator):
        seen.extend(x[:, 0].tolist())
        return plain(model, x, generator)

    fit(objective=objective, epochs=2)
    first, second = seen[:50], seen[50:]
    assert sorted(first) == sorted(second) == sorted(draw()[:, 0].tolist())
    assert first != second
    assert first != draw()[:, 0].tolist()


def test_modes_and_gradients():
    model = Linear()
    model.w.grad = torch.full((3, 3), 1e6)  # what an earlier backward has left
    clean = Linear()
    fit(model, epochs=1, batch_size=None, validation=draw(7))
    fit(clean, epochs=1, batch_size=None)
    assert torch.equal(model.w, clean.w)
    assert model.modes == [True, False]
    assert not model.training
    assert model.w.grad is None
    training.evaluate(model.train(), plain, draw())
    assert model.training


def test_evaluate_leaves_everything_as_it_was():
    model = Linear()
    before = model.w.detach().clone()
    one = training.evaluate(model, noisy, draw())
    assert one == training.evaluate(model, noisy, draw())
    assert one != training.evaluate(model, noisy, draw(), seed=1)
    assert torch.equal(model.w, before)
    assert model.w.grad is None


def test_lr_may_depend_on_the_epoch():
    fast, slow, stopped = Linear(), Linear(), Linear()
    fit(fast, lr=0.1)
    fit(slow, lr=lambda epoch: 0.1)
    assert torch.equal(fast.w, slow.w)
    fit(stopped, lr=lambda epoch: 0.1 if epoch == 0 else 0.0)
    once = Linear()
    fit(once, epochs=1)
    assert torch.equal(stopped.w, once.w)


@pytest.mark.parametrize("objective", [plain, noisy])
@pytest.mark.parametrize("lr", [0.1, lambda epoch: 0.1 / (1 + epoch)])
def test_resuming_gives_the_bits_of_one_run(tmp_path, objective, lr):
    whole, first, second = Linear(), Linear(), Linear(seed=9)
    options = {"validation": draw(7), "lr": lr}
    one = fit(whole, objective, epochs=7, **options)
    options["checkpoint"] = tmp_path / "run.safetensors"
    fit(first, objective, epochs=3, **options)
    two = fit(second, objective, epochs=7, resume=True, **options)
    assert torch.equal(whole.w, second.w)
    assert (one.train, one.validation) == (two.train, two.validation)
    again = fit(Linear(), objective, epochs=7, resume=True, **options)
    assert again.train == one.train
    assert len(list(tmp_path.iterdir())) == 1


def test_a_schedule_asks_once_an_epoch_and_goes_on_where_it_stopped(tmp_path):
    asked = []

    def objective_of(epoch):
        asked.append(epoch)
        return steeper(epoch)

    whole, first, second = Linear(), Linear(), Linear(seed=9)
    schedule = training.Schedule(objective_of)
    one = fit(whole, schedule, epochs=5)
    assert asked == [0, 1, 2, 3, 4]
    path = tmp_path / "run.safetensors"
    fit(first, schedule, epochs=2, checkpoint=path)
    two = fit(second, schedule, epochs=5, checkpoint=path, resume=True)
    assert asked[5:] == [0, 1, 2, 3, 4]
    assert torch.equal(whole.w, second.w)
    assert one.train == two.train


def test_a_schedule_that_does_not_change_is_its_objective():
    one, same = Linear(), Linear()
    fit(one, noisy)
    fit(same, training.Schedule(lambda epoch: noisy))
    assert torch.equal(one.w, same.w)


def test_an_interrupted_run_can_be_resumed(tmp_path, capsys):
    path = tmp_path / "run.safetensors"
    whole, model = Linear(), Linear()
    fit(whole, epochs=5)
    fit(model, raising(KeyboardInterrupt, call=10), epochs=5, checkpoint=path)
    history = fit(model, epochs=5, checkpoint=path, resume=True)
    assert torch.equal(whole.w, model.w)
    assert not history.interrupted
    assert "interrupted" in capsys.readouterr().out


@pytest.mark.parametrize("call", [1, 4, 5, 6, 9])
def test_an_interrupt_keeps_what_was_learnt(call, capsys):
    """50 examples in batches of 16: four steps an epoch, then the held-out set."""
    model, by_hand = Linear(), Linear()
    history = fit(model, raising(KeyboardInterrupt, call), validation=draw(7))
    epochs, steps = divmod(call - 1, 5)
    assert history.interrupted
    assert len(history) == len(history.validation.get("loss", [])) == epochs
    assert f"interrupted after {epochs} of 3 epochs" in capsys.readouterr().out
    assert not model.training
    assert model.w.grad is None
    with pytest.raises(ZeroDivisionError):  # the same steps, stopped by other means
        fit(by_hand, raising(ZeroDivisionError, call), validation=draw(7))
    assert torch.equal(model.w, by_hand.w)
    assert torch.equal(model.w, Linear().w) == (epochs + steps == 0)


def test_history_says_what_it_holds():
    history = training.History({"loss": [2.0, 1.25]}, {"loss": [3.0, 1.5]})
    assert repr(history) == "History: 2 epochs, train loss 1.25, validation loss 1.5"
    assert repr(training.History(interrupted=True)) == "History: 0 epochs, interrupted"


# Error


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_names_epoch_and_batch(value):
    model, before = Linear(), Linear()
    message = f"finite loss, but got {value} in epoch 2, batch 3; .* lower lr;"
    with pytest.raises(FloatingPointError, match=message):
        fit(model, poisoned(value, call=7))
    assert model.w.isfinite().all()
    with pytest.raises(ZeroDivisionError):
        fit(before, raising(ZeroDivisionError, call=7))
    assert torch.equal(model.w, before.w), "the bad batch was learnt from"


def test_nan_in_the_data_is_found():
    x = draw()
    x[11] = math.nan
    with pytest.raises(FloatingPointError, match="in epoch 1, batch 1; look for NaN"):
        fit(train=x, batch_size=None)


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, "n >= 1, one example a row, but got (0, 3)", {"train": draw(0)}),
        (ValueError, "of shape (n, ...) with n >= 1", {"train": draw()[:, 0]}),
        (ValueError, "but got (0, 3)", {"validation": draw(0)}),
        (TypeError, "data to be a torch Tensor, but got list", {"train": [[1.0]]}),
        (TypeError, "but got ndarray", {"validation": draw().numpy()}),
        (TypeError, "model to be a torch Module, but got str", {"model": "PCA"}),
        (ValueError, "expected epochs >= 1, but got 0", {"epochs": 0}),
        (TypeError, "expected epochs to be an integer, but got 2.5", {"epochs": 2.5}),
        (ValueError, "expected batch_size >= 1, but got -1", {"batch_size": -1}),
        (TypeError, "batch_size to be an integer, but got True", {"batch_size": True}),
        (ValueError, "expected checkpoint= to resume from", {"resume": True}),
        (FileNotFoundError, "expected a folder ", {"checkpoint": "no/where"}),
        (FileNotFoundError, "expected a file ", {"checkpoint": "none", "resume": True}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_bad_arguments_are_named(error, message, options, tmp_path):
    if "checkpoint" in options:
        options = options | {"checkpoint": tmp_path / options["checkpoint"]}
    with pytest.raises(error, match=re.escape(message)):
        fit(**options)


@pytest.mark.parametrize(
    ("error", "message", "terms"),
    [
        (TypeError, "a dict of terms with loss, but got Tensor", lambda e: e),
        (TypeError, "with loss, but got ['nll']", lambda e: {"nll": e}),
        (ValueError, "of shape (batch,) = (16,), but got (); sum over the features",
         lambda e: {"loss": e.mean()}),
        (ValueError, "term kl of shape (batch,) = (16,), but got (16, 1)",
         lambda e: {"loss": e, "kl": e[:, None]}),
    ],
    ids=["no dict", "no loss", "mean", "kept dimension"],
)  # fmt: skip
def test_bad_objectives_are_named(error, message, terms):
    def objective(model, x, generator):
        return terms(plain(model, x, generator)["loss"])

    with pytest.raises(error, match="fit: expected") as caught:
        fit(objective=objective)
    assert message in str(caught.value)


def test_bad_schedules_are_named():
    with pytest.raises(TypeError, match="function epoch -> objective, but got dict"):
        training.Schedule({"loss": plain})
    schedule = training.Schedule(lambda epoch: plain if epoch == 0 else None)
    with pytest.raises(TypeError, match="an objective, but got NoneType for epoch 1"):
        fit(objective=schedule)
    with pytest.raises(TypeError, match=r"got a Schedule; .* schedule.at\(epoch\)"):
        training.evaluate(Linear(), schedule, draw())


def test_another_run_cannot_be_resumed(tmp_path):
    path = tmp_path / "run.safetensors"
    fit(checkpoint=path)
    for options, message in [
        ({"seed": 1}, "seed = 0, not 1"),
        ({"batch_size": 8}, "batch_size = 16, not 8"),
        ({"train": draw(51)}, "examples = 50, not 51"),
    ]:
        with pytest.raises(ValueError, match=message):
            fit(checkpoint=path, resume=True, **options)
