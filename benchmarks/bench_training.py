"""One epoch of `training.fit` beside other ways to write it: behind `make bench`.

Everybody trains the same model on the same data, with the same objective, batch size
and optimizer, in one process on one thread, taking turns. What counts is the time of
the CPU: the clock on the wall also measures what else the machine does. Of the others
only the epoch itself is timed, without what Lightning and pythae set up before it and
save after it; of `fit` the whole call is.
"""

import argparse
import contextlib
import io
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from aelab import data, losses, training
from aelab.models import Autoencoder

LR = 1e-3
OBJECTIVE = losses.reconstruction()
Epoch = Callable[[nn.Module, Tensor, int], float]  # -> seconds


def digits() -> Tensor:
    """Return the 1,297 training digits, 8 x 8."""
    return data.images("digits")[0].x


def large(n: int) -> Tensor:
    """Return the digits enlarged to 28 x 28, each many times with noise of its own."""
    generator = torch.Generator().manual_seed(0)
    small = data.images("digits")[0].images()[:, None]  # (1297, 1, 8, 8)
    x = F.interpolate(small, (28, 28), mode="bilinear").flatten(1)
    x = x[torch.randint(len(x), (n,), generator=generator)]
    return (x + 0.05 * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def fit(model: nn.Module, x: Tensor, batch_size: int) -> float:
    """Time the course's loop."""
    start = time.process_time()
    training.fit(
        model, OBJECTIVE, x, epochs=1, batch_size=batch_size, lr=LR, progress=False
    )
    return time.process_time() - start


def steps(model: nn.Module, x: Tensor, batch_size: int) -> float:
    """Time the steps alone, without any account or check: the bound of every loop."""
    start = time.process_time()
    optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=True)
    generator = torch.Generator()
    for index in torch.randperm(len(x)).split(batch_size):
        loss = OBJECTIVE(model, x[index], generator)["loss"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.process_time() - start


def loader(model: nn.Module, x: Tensor, batch_size: int, fused: bool = True) -> float:
    """Time the same loop over a DataLoader, with the same account of the loss."""
    batches = DataLoader(TensorDataset(x), batch_size=batch_size, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=fused)
    generator = torch.Generator()
    total = 0.0
    start = time.process_time()
    for (rows,) in batches:
        loss = OBJECTIVE(model, rows, generator)["loss"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(rows)
    return time.process_time() - start


def loader_unfused(model: nn.Module, x: Tensor, batch_size: int) -> float:
    """Time the DataLoader loop as it is mostly written, with torch's default Adam."""
    return loader(model, x, batch_size, fused=False)


def lightning(model: nn.Module, x: Tensor, batch_size: int) -> float:
    """Time an epoch of Lightning's Trainer, everything optional switched off."""
    import pytorch_lightning

    class Lightning(pytorch_lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: list[Tensor], number: int) -> Tensor:
            return OBJECTIVE(self.model, batch[0], torch.Generator())["loss"].mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=LR, fused=True)

        def on_train_epoch_start(self) -> None:
            self.start = time.process_time()

        def on_train_epoch_end(self) -> None:
            self.seconds = time.process_time() - self.start

    trainer = pytorch_lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = Lightning()
    batches = DataLoader(TensorDataset(x), batch_size=batch_size, shuffle=True)
    trainer.fit(module, batches)
    return module.seconds


def pythae(model: nn.Module, x: Tensor, batch_size: int) -> float:
    """Time an epoch of pythae's trainer, around the same model."""
    from pythae.data.datasets import BaseDataset
    from pythae.models.base.base_utils import ModelOutput
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Pythae(nn.Module):
        model_config = SimpleNamespace()
        model_name = "Autoencoder"

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, inputs: dict[str, Tensor], **_: object) -> ModelOutput:
            terms = OBJECTIVE(self.model, inputs["data"], torch.Generator())
            return ModelOutput(loss=terms["loss"].mean())

        def update(self) -> None:
            pass

    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder,
            per_device_train_batch_size=batch_size,
            optimizer_params={"fused": True},
            learning_rate=LR,
            no_cuda=True,
        )
        labels = torch.zeros(len(x))
        trainer = BaseTrainer(Pythae(), BaseDataset(x, labels), training_config=config)
        trainer.prepare_training()
        start = time.process_time()
        trainer.train_step(1)
        return time.process_time() - start


WAYS: dict[str, Epoch] = {
    "aelab.training.fit": fit,
    "the steps alone": steps,
    "DataLoader loop": loader,
    "  with Adam unfused": loader_unfused,
    "Lightning": lightning,
    "pythae": pythae,
}


def compare(x: Tensor, batch_size: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each way, an epoch a round, after one to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for number in range(rounds + 1):
        for name, epoch in WAYS.items():
            torch.manual_seed(number)
            model = Autoencoder(x.shape[1], 8)
            spent = epoch(model, x, batch_size)
            if number:
                seconds[name].append(spent)
    return seconds


def report(title: str, seconds: dict[str, list[float]]) -> None:
    """Print medians, and the middle half of the ratios taken round by round."""
    print(f"\n{title}\n{'':22}{'median':>10}{'times fit':>11}{'middle half':>15}")
    own = seconds["aelab.training.fit"]
    for name, times in seconds.items():
        ratios = [other / one for other, one in zip(times, own, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"{name:22}{1e3 * statistics.median(times):>7.1f} ms{middle:>11.2f}"
            f"{low:>9.2f}-{high:.2f}"
        )


def quiet() -> None:
    """Silence what Lightning and pythae have to say at every start."""
    warnings.filterwarnings("ignore")
    os.environ["PYTHONWARNINGS"] = "ignore"
    import pythae.trainers  # noqa: F401  its loggers are made on import
    import pytorch_lightning  # noqa: F401

    for name in list(logging.root.manager.loggerDict):
        if name.startswith(("pythae", "pytorch_lightning", "lightning")):
            logging.getLogger(name).setLevel(logging.ERROR)


def main() -> None:
    """Compare on small and on larger images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="digits: 4 times these")
    parser.add_argument("--images", type=int, default=60_000, help="of 28 x 28")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quiet()
    print(
        f"torch {torch.__version__}, one thread, Autoencoder with "
        "128 hidden units and 8 latent ones, squared error, fused Adam"
    )
    sets = {"digits": digits(), "larger images": large(arguments.images)}
    for name, x in sets.items():
        for batch_size in (64, 256):
            rounds = arguments.rounds * (4 if name == "digits" else 1)
            with contextlib.redirect_stderr(io.StringIO()):
                seconds = compare(x, batch_size, rounds)
            size = f"{len(x):,} x {x.shape[1]}"
            report(f"one epoch of {name}, {size}, batches of {batch_size}", seconds)


if __name__ == "__main__":
    main()
