"""Numbers about results: how far, how well told apart, how well aligned.

Tensors in; one number an example, or one number in all, out.
"""

import math

import torch
from torch import Tensor


def subspace_sine(a: Tensor, b: Tensor) -> float:
    """Return the sine of the largest angle between two subspaces.

    The rows of `a` span one, the rows of `b` the other; neither need be orthonormal.
    The sine is the largest singular value of ``Q - Q V^T V``, with orthonormal rows Q
    of the first and V of the second, in float64. It stays exact where the angle is
    small; ``arccos`` of a cosine near 1 does not.

    Parameters
    ----------
    a, b : Tensor of shape (k, d)
        Directions, one a row, linearly independent. A single vector may be (d,).

    Returns
    -------
    float
        0 for the same subspace, 1 if some direction of one is orthogonal to the other.

    Raises
    ------
    TypeError
        If one of the two is not a floating-point tensor.
    ValueError
        If the shapes differ, or there are more rows than columns.
    """
    _check_floats("subspace_sine", a=a, b=b)
    a, b = torch.atleast_2d(a), torch.atleast_2d(b)
    if a.ndim != 2 or a.shape != b.shape or len(a) > a.shape[1]:
        raise ValueError(
            "subspace_sine: expected a and b of one shape (k, d) with k <= d, but got "
            f"{tuple(a.shape)} and {tuple(b.shape)}; put one direction in each row"
        )
    q = torch.linalg.qr(a.double().T).Q.T  # (k, d), orthonormal rows
    v = torch.linalg.qr(b.double().T).Q.T
    return torch.linalg.matrix_norm(q - q @ v.T @ v, ord=2).clamp(max=1).item()


def knn_accuracy(
    z_train: Tensor, y_train: Tensor, z: Tensor, y: Tensor, *, n_neighbors: int = 5
) -> float:
    """Return the share of codes whose nearest neighbours vote for the right class.

    Euclidean distance, majority vote, ties to the smaller label. No code is rescaled:
    the answer is about the geometry of the code as it stands.

    Parameters
    ----------
    z_train : Tensor of shape (n, k)
        Codes to look among.
    y_train : Tensor of shape (n,)
        Their classes, integers from 0.
    z : Tensor of shape (m, k)
        Codes to judge.
    y : Tensor of shape (m,)
        Their classes.
    n_neighbors : int
        How many neighbours vote.

    Returns
    -------
    float
        Accuracy in [0, 1].

    Raises
    ------
    TypeError
        If a code is not a floating-point tensor.
    ValueError
        If shapes do not fit, or there are fewer than `n_neighbors` codes to look among.
    """
    _check_codes("knn_accuracy", z_train, y_train, z, y)
    if not 1 <= n_neighbors <= len(z_train):
        raise ValueError(
            f"knn_accuracy: expected 1 <= n_neighbors <= {len(z_train)}, but got "
            f"{n_neighbors}; only so many codes are there to look among"
        )
    right = 0
    classes = int(y_train.max()) + 1
    for codes, labels in zip(
        z.split(1000), y.split(1000), strict=True
    ):  # bounds memory
        nearest = torch.cdist(codes, z_train).topk(n_neighbors, largest=False).indices
        votes = torch.nn.functional.one_hot(y_train[nearest], classes).sum(dim=1)
        right += int((votes.argmax(dim=1) == labels).sum())
    return right / len(z)


def probe_accuracy(
    z_train: Tensor, y_train: Tensor, z: Tensor, y: Tensor, *, max_iter: int = 2000
) -> float:
    """Return the accuracy of a logistic regression on the codes: a linear probe.

    Each coordinate is standardised on the training codes first. A probe asks whether
    the classes can be read off by a weighted sum, not whether they are there at all.

    Parameters
    ----------
    z_train : Tensor of shape (n, k)
        Codes to learn from.
    y_train : Tensor of shape (n,)
        Their classes, integers.
    z : Tensor of shape (m, k)
        Codes to judge.
    y : Tensor of shape (m,)
        Their classes.
    max_iter : int
        Upper bound on the iterations of the solver.

    Returns
    -------
    float
        Accuracy in [0, 1].

    Raises
    ------
    TypeError
        If a code is not a floating-point tensor.
    ValueError
        If shapes do not fit.
    """
    from sklearn.linear_model import LogisticRegression  # here: it takes a second
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    _check_codes("probe_accuracy", z_train, y_train, z, y)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=max_iter))
    probe.fit(z_train.double().numpy(force=True), y_train.numpy(force=True))
    return float(probe.score(z.double().numpy(force=True), y.numpy(force=True)))


def kl_units(mu: Tensor, logvar: Tensor) -> Tensor:
    """Return what each unit of a Gaussian code costs: its mean KL to N(0, 1).

    Parameters
    ----------
    mu, logvar : Tensor of shape (batch, k)
        Mean and log-variance of q(z | x) for every example.

    Returns
    -------
    Tensor of shape (k,)
        In nats, averaged over the batch; the sum is the mean KL of an example. Near 0
        for a unit that has collapsed: it says the same of every example.

    Raises
    ------
    TypeError
        If one of the two is not a floating-point tensor.
    ValueError
        If the shapes differ, or the batch is empty.
    """
    _check_posteriors("kl_units", mu=mu, logvar=logvar)
    return (mu.square() + torch.expm1(logvar) - logvar).mean(dim=0) / 2


def active_units(mu: Tensor, *, threshold: float = 0.01) -> int:
    """Return how many units of a code say something about the example.

    A unit is active if its posterior mean varies over the data by more than the
    threshold. What it costs does not matter: a unit may cost much and say nothing.

    Parameters
    ----------
    mu : Tensor of shape (n, k)
        Posterior means, or the codes of an autoencoder, of n >= 2 examples.
    threshold : float
        Least variance, with 1 / (n - 1), of an active unit.

    Returns
    -------
    int
        Between 0 and k.

    Raises
    ------
    TypeError
        If `mu` is not a floating-point tensor.
    ValueError
        If it is not of shape (n, k) with n >= 2.

    References
    ----------
    Burda, Grosse and Salakhutdinov, Importance weighted autoencoders, 2016.
    """
    _check_posteriors("active_units", least=2, mu=mu)
    return int((mu.var(dim=0) > threshold).sum())


def bits_per_dimension(nll: Tensor, d: int, *, levels: int | None = None) -> Tensor:
    """Return negative log-likelihoods in bits for each of d numbers.

    A density depends on the unit of x; its logarithm may have any sign. Pictures of
    finitely many grey levels have *probabilities*, those of cells round them: if the
    density hardly changes within a cell, the density times the cell's volume, whose
    bits can be compared with the 8 that store a pixel of 256 levels as it is.

    Parameters
    ----------
    nll : Tensor of any shape
        ``-log p(x)`` in nats, summed over the d numbers of an example.
    d : int
        How many numbers an example has.
    levels : int, optional
        Number of grey levels that x takes, evenly spaced from 0 to 1: 17 for the
        digits, 256 for photographs. None if x is no grey level, or `nll` is already
        of probabilities, as a Bernoulli's is: nothing is added.

    Returns
    -------
    Tensor of the shape of nll
        ``nll / (d log 2) + log2(levels - 1)``.

    Raises
    ------
    TypeError
        If `nll` is not a floating-point tensor, or `d` or `levels` no integer.
    ValueError
        If d < 1 or levels < 2.

    Notes
    -----
    A density narrower than a cell gives no probability. Then draw each x uniformly
    from its cell before judging it: the mean is a bound.

    References
    ----------
    Theis, van den Oord and Bethge, A note on the evaluation of generative models, 2016.
    """
    _check_floats("bits_per_dimension", nll=nll)
    least = {"d": (d, 1)} | ({} if levels is None else {"levels": (levels, 2)})
    for name, (value, smallest) in least.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(
                f"bits_per_dimension: expected an integer {name}, but got {value!r}"
            )
        if value < smallest:
            raise ValueError(
                f"bits_per_dimension: expected {name} >= {smallest}, but got {value}"
            )
    cell = 0.0 if levels is None else math.log2(levels - 1)
    return nll / (d * math.log(2)) + cell


def bits_per_character(nll: Tensor) -> Tensor:
    """Return a cross-entropy a character in bits.

    Parameters
    ----------
    nll : Tensor of any shape
        -log p of a character, or its mean over some, in nats.

    Returns
    -------
    Tensor of the shape of nll
        ``nll / log 2``: how long a file gets, for each character, if what is likely is
        written briefly. Guessing among m alike costs log2(m).

    Raises
    ------
    TypeError
        If `nll` is not a floating-point tensor.
    """
    _check_floats("bits_per_character", nll=nll)
    return nll / math.log(2)


def stationary(transition: Tensor) -> Tensor:
    """Return how often a Markov chain is in each state, in the long run.

    Parameters
    ----------
    transition : Tensor of shape (m, m)
        P: row i holds the probabilities of what follows i.

    Returns
    -------
    Tensor of shape (m,)
        The one distribution p with p P = p: the left eigenvector of eigenvalue 1,
        scaled to the sum 1.

    Raises
    ------
    TypeError
        If `transition` is not a floating-point tensor.
    ValueError
        If it is not square, a row is no distribution, or there are several such p,
        since the chain cannot leave every part of it.
    """
    _check_floats("stationary", transition=transition)
    p = transition.double()
    if p.ndim != 2 or p.shape[0] != p.shape[1] or not len(p):
        raise ValueError(
            "stationary: expected transition of shape (m, m), but got "
            f"{tuple(transition.shape)}; row i holds what follows state i"
        )
    off = (p.sum(dim=1) - 1).abs().max().item()
    if not (p >= 0).all() or not off < 1e-5:  # NaN too
        raise ValueError(
            "stationary: expected rows of probabilities, but the smallest entry is "
            f"{p.min():.3g} and a row's sum is off by {off:.3g}; divide each row by "
            "its sum"
        )
    p = p / p.sum(dim=1, keepdim=True)
    values, vectors = torch.linalg.eig(p.T)
    ones = (values - 1).abs() < 1e-9
    if ones.sum() != 1:
        raise ValueError(
            "stationary: expected a chain that forgets where it began, but got "
            f"{int(ones.sum())} parts that are never left; let each follow the others"
        )
    vector = vectors[:, ones].real[:, 0]
    return (vector / vector.sum()).to(transition.dtype)


def entropy_rate(transition: Tensor) -> float:
    """Return the least cross-entropy a symbol with which a chain can be predicted.

    Parameters
    ----------
    transition : Tensor of shape (m, m)
        As for :func:`stationary`.

    Returns
    -------
    float
        In nats: the entropy of row i, averaged over how often the chain is in i. What
        is impossible adds nothing.

    Raises
    ------
    TypeError, ValueError
        As by :func:`stationary`.

    References
    ----------
    Shannon, A mathematical theory of communication, 1948.
    """
    p = stationary(transition).double()
    rows = torch.special.entr(transition.double()).sum(dim=1)  # -P log P
    return float(p @ rows)


def psnr(x: Tensor, x_hat: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each picture.

    Parameters
    ----------
    x, x_hat : Tensor of shape (batch, d)
        Pictures and what is to resemble them, with intensity in [0, 1]. Values outside
        count as they are: clamp what will be shown.

    Returns
    -------
    Tensor of shape (batch,)
        10 log10(1 / mean squared error of the picture), in dB, Eq. (3.10) of lecture
        03. Infinite where nothing differs. Ten times the error is 10 dB less.

    Raises
    ------
    TypeError
        If one of the two is not a floating-point tensor.
    ValueError
        If the shapes differ.
    """
    _check_pictures("psnr", x, x_hat)
    return -10 * (x - x_hat).square().mean(dim=1).log10()


def ssim(x: Tensor, x_hat: Tensor, *, shape: tuple[int, int]) -> Tensor:
    """Return the structural similarity of each picture, by scikit-image.

    In every window of 7 x 7 pixels it compares means, variances and the correlation of
    the two pictures, Eq. (3.15) of lecture 03; the windows are averaged.

    Parameters
    ----------
    x, x_hat : Tensor of shape (batch, d)
        Pictures and what is to resemble them, with intensity in [0, 1].
    shape : tuple of int
        Their height and width in pixels, 7 or more each.

    Returns
    -------
    Tensor of shape (batch,)
        1 for equal pictures, near 0 for unlike ones; never above 1.

    Raises
    ------
    TypeError
        If one of the two is not a floating-point tensor.
    ValueError
        If the shapes differ, or `shape` does not fit or is smaller than a window.

    References
    ----------
    Wang, Bovik, Sheikh and Simoncelli, Image quality assessment: from error visibility
    to structural similarity, 2004.
    """
    from skimage.metrics import structural_similarity  # here: it takes a second

    _check_pictures("ssim", x, x_hat)
    height, width = shape
    if height * width != x.shape[1] or min(height, width) < 7:
        raise ValueError(
            f"ssim: expected shape with height * width = {x.shape[1]}, neither below "
            f"7, but got {(height, width)}; pass shape=(height, width) of the pictures"
        )
    pairs = torch.stack([x, x_hat], dim=1).double().numpy(force=True)
    values = [
        structural_similarity(*pair.reshape(2, height, width), data_range=1.0)
        for pair in pairs
    ]
    return torch.tensor(values, dtype=x.dtype, device=x.device)


def _check_posteriors(who: str, *, least: int = 1, **tensors: Tensor) -> None:
    _check_floats(who, **tensors)
    shapes = [tuple(value.shape) for value in tensors.values()]
    first = shapes[0]
    if shapes.count(first) < len(shapes) or len(first) != 2 or first[0] < least:
        raise ValueError(
            f"{who}: expected {' and '.join(tensors)} of one shape (n, k) with n >= "
            f"{least}, but got {' and '.join(map(str, shapes))}; give each example one "
            "row"
        )


def _check_pictures(who: str, x: Tensor, x_hat: Tensor) -> None:
    _check_floats(who, x=x, x_hat=x_hat)
    if x.ndim != 2 or x.shape != x_hat.shape:
        raise ValueError(
            f"{who}: expected x and x_hat of one shape (batch, d), but got "
            f"{tuple(x.shape)} and {tuple(x_hat.shape)}; flatten pictures by flatten(1)"
        )


def _check_floats(who: str, **tensors: Tensor) -> None:
    for name, value in tensors.items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            got = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(
                f"{who}: expected {name} to be a floating-point tensor, but got {got}; "
                "convert it with .float()"
            )


def _check_codes(
    who: str, z_train: Tensor, y_train: Tensor, z: Tensor, y: Tensor
) -> None:
    _check_floats(who, z_train=z_train, z=z)
    fits = (
        z_train.ndim == z.ndim == 2
        and z_train.shape[1] == z.shape[1]
        and y_train.shape == z_train.shape[:1]
        and y.shape == z.shape[:1]
        and len(z) > 0
    )
    if not fits:
        shapes = ", ".join(str(tuple(t.shape)) for t in (z_train, y_train, z, y))
        raise ValueError(
            f"{who}: expected z_train (n, k), y_train (n,), z (m, k), y (m,) with "
            f"m >= 1, but got {shapes}; give each code one label"
        )
