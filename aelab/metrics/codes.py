"""How good codes are: aligned, told apart, alive.

Tensors in; one number a unit, or one number in all, out.
"""

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
    check_floats("subspace_sine", a=a, b=b)
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


def _check_posteriors(who: str, *, least: int = 1, **tensors: Tensor) -> None:
    check_floats(who, **tensors)
    shapes = [tuple(value.shape) for value in tensors.values()]
    first = shapes[0]
    if shapes.count(first) < len(shapes) or len(first) != 2 or first[0] < least:
        raise ValueError(
            f"{who}: expected {' and '.join(tensors)} of one shape (n, k) with n >= "
            f"{least}, but got {' and '.join(map(str, shapes))}; give each example one "
            "row"
        )


def check_floats(who: str, **tensors: Tensor) -> None:
    """Refuse arguments that are no floating-point tensors.

    Parameters
    ----------
    who : str
        The function that was called, for the message.
    **tensors : Tensor of any shape
        Its arguments by name.

    Raises
    ------
    TypeError
        If one is no tensor, or of integers.
    """
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
    check_floats(who, z_train=z_train, z=z)
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
