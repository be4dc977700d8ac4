"""The one training loop of the course. It knows no model and no loss by name."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from aelab import checkpoint as checkpoints
from aelab.progress import Bar

Terms = dict[str, Tensor]
Objective = Callable[[nn.Module, Tensor, Generator], Terms]
# Fused, one kernel for all parameters: else Adam takes longer than both passes.
ADAM = partial(torch.optim.Adam, fused=True)


@dataclass(frozen=True)
class Schedule:
    """An objective that changes with the epoch, such as a KL that is warmed up.

    ``fit`` takes it in the place of an objective. Twenty epochs to the full price:
    ``Schedule(lambda epoch: losses.elbo(beta=min(1, (epoch + 1) / 20)))``.

    Parameters
    ----------
    objective_of : callable
        From the epoch, counted from 0, to the objective of that epoch.

    Raises
    ------
    TypeError
        If `objective_of` is no function; by `at`, if it returns none.

    References
    ----------
    Bowman et al., Generating sentences from a continuous space, 2016 (warm-up).
    """

    objective_of: Callable[[int], Objective]

    def __post_init__(self) -> None:
        if not callable(self.objective_of):
            raise TypeError(
                "Schedule: expected a function epoch -> objective, but got "
                f"{type(self.objective_of).__name__}; write Schedule(lambda epoch: ...)"
            )

    def at(self, epoch: int) -> Objective:
        """Return the objective of an epoch.

        Parameters
        ----------
        epoch : int
            Counted from 0.

        Returns
        -------
        objective
        """
        objective = self.objective_of(epoch)
        if not callable(objective):
            raise TypeError(
                "Schedule: expected the function to return an objective, but got "
                f"{type(objective).__name__} for epoch {epoch}; return what "
                "losses.elbo(...) returns"
            )
        return objective


@dataclass
class History:
    """What training saw: the mean of every term in every epoch.

    Attributes
    ----------
    train : dict of list of float
        Term -> one mean an epoch, taken while the parameters were moving.
    validation : dict of list of float
        Term -> one mean an epoch over the held-out set, taken at its end.
    interrupted : bool
        Whether the keyboard ended training early.
    """

    train: dict[str, list[float]] = field(default_factory=dict)
    validation: dict[str, list[float]] = field(default_factory=dict)
    interrupted: bool = False

    def __len__(self) -> int:
        return len(self.train.get("loss", []))

    def __repr__(self) -> str:
        parts = [f"History: {len(self)} epochs"] + ["interrupted"] * self.interrupted
        for name, means in (("train", self.train), ("validation", self.validation)):
            if means:
                parts.append(f"{name} loss {means['loss'][-1]:.4g}")
        return ", ".join(parts)

    def _append(self, train: dict[str, float], validation: dict[str, float]) -> None:
        for curves, means in ((self.train, train), (self.validation, validation)):
            for name, mean in means.items():
                curves.setdefault(name, []).append(mean)


def fit(
    model: nn.Module,
    objective: Objective | Schedule,
    train: Any,
    *,
    epochs: int,
    batch_size: int | None = 64,
    lr: float | Callable[[int], float] = 1e-3,
    seed: int = 0,
    optimizer: Callable[..., torch.optim.Optimizer] = ADAM,
    validation: Any = None,
    progress: bool = True,
    checkpoint: str | Path | None = None,
    resume: bool = False,
) -> History:
    """Minimise an objective by gradient descent on shuffled minibatches.

    Parameters
    ----------
    model : torch.nn.Module
        Trained in place, and left in evaluation mode. Its first parameters are the
        caller's affair: ``torch.manual_seed`` before making it.
    objective : callable
        ``(model, x, generator) -> dict of Tensor of shape (batch,)``; the mean of the
        term ``loss`` is minimised. A :class:`Schedule` gives each epoch its own.
    train : Tensor of shape (n, ...), or an object with such an ``x``
        The training set, one example a row, on the model's device.
    epochs : int
        How often to go through it.
    batch_size : int, optional
        Examples a step; an epoch's last batch takes what is left. None: all.
    lr : float or callable
        Learning rate, or a function of the epoch, counted from 0, that gives it.
    seed : int
        Of the one generator that draws each epoch's order and whatever the objective
        draws. torch's global generators are not touched.
    optimizer : callable
        ``(parameters, lr=...) -> torch.optim.Optimizer``.
    validation : as ``train``, optional
        A held-out set, evaluated after each epoch, by the objective of that epoch.
    progress : bool
        Whether to show a bar.
    checkpoint : path, optional
        A file to write after each epoch. It replaces an older one.
    resume : bool
        Whether to go on from the checkpoint until there are `epochs` in all: on the
        CPU with the parameters of one run, bit for bit.

    Returns
    -------
    History

    Raises
    ------
    TypeError, ValueError, FileNotFoundError
        If the data are no tensor or empty, an argument is out of range, a term is not
        of shape (batch,), or the checkpoint is missing or of another run.
    FloatingPointError
        If the loss is infinite or NaN; the model is then as before that batch.

    Notes
    -----
    Ctrl-C ends training, not the program: the model keeps what it has learnt, and the
    history of the whole epochs is returned.
    """
    x = _rows("fit", model, train)
    held_out = None if validation is None else _rows("fit", model, validation)
    size = len(x) if batch_size is None else batch_size
    _check_count("fit", "epochs", epochs)
    _check_count("fit", "batch_size", size)
    generator = Generator(x.device).manual_seed(seed)
    rate = lr if callable(lr) else lambda _: lr
    descent = optimizer(model.parameters(), lr=rate(0))
    history = History()
    parts = (model, descent, generator)
    settings = {"examples": len(x), "batch_size": size, "seed": seed}
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and not path.parent.is_dir():
        raise FileNotFoundError(f"fit: expected a folder {path.parent}, but got none")
    if resume:
        if path is None:
            raise ValueError("fit: expected checkpoint= to resume from, but got none")
        about = checkpoints.load(path, parts, settings)
        history = History(about["train"], about["validation"])
    batches = math.ceil(len(x) / size)
    model.train()
    descent.zero_grad()
    try:
        with Bar(epochs * batches, visible=progress) as bar:
            for epoch in range(len(history), epochs):
                for group in descent.param_groups:
                    group["lr"] = rate(epoch)
                now = objective
                if isinstance(now, Schedule):
                    now = now.at(epoch)
                sums: dict[str, float] = {}
                order = torch.randperm(len(x), generator=generator, device=x.device)
                for batch, index in enumerate(order.split(size)):
                    terms = now(model, x[index], generator)
                    loss = _add_up("fit", sums, terms, len(index))
                    if not math.isfinite(loss.item()):
                        raise FloatingPointError(
                            f"fit: expected a finite loss, but got {loss.item()} in "
                            f"epoch {epoch + 1}, batch {batch + 1}; look for NaN in "
                            "the data, or lower lr; the model is as before that batch"
                        )
                    loss.backward()
                    descent.step()
                    descent.zero_grad()
                    bar.update(epoch * batches + batch + 1)
                means = {name: total / len(x) for name, total in sums.items()}
                unseen = {}
                if held_out is not None:
                    unseen = evaluate(model, now, held_out, seed=seed)
                history._append(means, unseen)
                bar.label = f"{epoch + 1} of {epochs} epochs, loss {means['loss']:.4g}"
                if path is not None:
                    checkpoints.save(path, parts, settings | vars(history))
    except KeyboardInterrupt:
        history.interrupted = True
        done = f"{len(history)} of {epochs} epochs"
        print(f"fit: interrupted after {done}; the model keeps what it has learnt")
    finally:
        descent.zero_grad()
        model.eval()
    return history


def evaluate(
    model: nn.Module,
    objective: Objective,
    x: Any,
    *,
    batch_size: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """Return the mean of every term of an objective over a set, without learning.

    Parameters
    ----------
    model, objective, x
        As for :func:`fit`; the model is in evaluation mode meanwhile.
    batch_size : int
        Examples at a time: a matter of memory.
    seed : int
        Of the generator that the objective gets: the same noise at every call.

    Returns
    -------
    dict of float
        Term -> mean over the n examples.

    Raises
    ------
    TypeError, ValueError
        As by :func:`fit`; also for a :class:`Schedule`, since here is no epoch.
    """
    if isinstance(objective, Schedule):
        raise TypeError(
            "evaluate: expected an objective, but got a Schedule; choose an epoch: "
            "schedule.at(epoch)"
        )
    x = _rows("evaluate", model, x)
    _check_count("evaluate", "batch_size", batch_size)
    generator = Generator(x.device).manual_seed(seed)
    sums: dict[str, float] = {}
    mode = model.training
    model.eval()
    try:
        with torch.no_grad():
            for rows in x.split(batch_size):
                terms = objective(model, rows, generator)
                _add_up("evaluate", sums, terms, len(rows))
    finally:
        model.train(mode)
    return {name: total / len(x) for name, total in sums.items()}


def _add_up(who: str, sums: dict[str, float], terms: Terms, n: int) -> Tensor:
    """Add each term's sum over the batch to `sums`, and return the mean loss."""
    if not isinstance(terms, dict) or "loss" not in terms:
        got = list(terms) if isinstance(terms, dict) else type(terms).__name__
        raise TypeError(f"{who}: expected a dict of terms with loss, but got {got}")
    for name, term in terms.items():
        if term.shape != (n,):
            raise ValueError(
                f"{who}: expected term {name} of shape (batch,) = ({n},), but got "
                f"{tuple(term.shape)}; sum over the features, and leave the mean over "
                "the batch to training"
            )
    means = {name: term.mean() for name, term in terms.items()}
    for name, mean in means.items():
        sums[name] = sums.get(name, 0.0) + n * mean.item()
    return means["loss"]


def _rows(who: str, model: nn.Module, data: Any) -> Tensor:
    x = getattr(data, "x", data)
    for name, value, kind in (("model", model, nn.Module), ("data", x, Tensor)):
        if not isinstance(value, kind):
            raise TypeError(
                f"{who}: expected {name} to be a torch {kind.__name__}, but got "
                f"{type(value).__name__}"
            )
    if x.ndim < 2 or len(x) == 0:
        raise ValueError(
            f"{who}: expected data of shape (n, ...) with n >= 1, one example a row, "
            f"but got {tuple(x.shape)}"
        )
    return x


def _check_count(who: str, name: str, value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{who}: expected {name} to be an integer, but got {value!r}")
    if value < 1:
        raise ValueError(f"{who}: expected {name} >= 1, but got {value}")
