"""Principal component analysis: the best linear code, found by one SVD (lecture 01)."""

from typing import NamedTuple

import torch
from torch import Tensor


class PCAOutput(NamedTuple):
    """What a forward pass gives: the reconstruction and the code it was made from."""

    x_hat: Tensor  # (n, d)
    z: Tensor  # (n, k)


class PCA:
    """Principal component analysis by singular value decomposition.

    The words are scikit-learn's, and so are the numbers. Nothing is drawn at random.

    Parameters
    ----------
    n_components : int
        Length k of the code.

    Attributes
    ----------
    mean_ : Tensor of shape (d,)
        Mean of the training rows; what the code zero decodes to.
    components_ : Tensor of shape (k, d)
        Orthonormal directions, one a row, by falling variance. The entry of largest
        magnitude in each row is positive: an SVD leaves the sign open.
    singular_values_ : Tensor of shape (k,)
        Singular values of the centred data.
    explained_variance_ : Tensor of shape (k,)
        Variance of each coordinate of the code, with 1 / (n - 1).
    explained_variance_ratio_ : Tensor of shape (k,)
        Share of the total variance that each coordinate carries.

    Notes
    -----
    `fit` is Eq. (1.8), `encode` and `decode` are Eq. (1.9) of lecture 01.

    References
    ----------
    K. Pearson, "On lines and planes of closest fit to systems of points in space",
    Philosophical Magazine 2 (1901).
    """

    mean_: Tensor
    components_: Tensor
    singular_values_: Tensor
    explained_variance_: Tensor
    explained_variance_ratio_: Tensor

    def __init__(self, n_components: int) -> None:
        if not isinstance(n_components, int) or isinstance(n_components, bool):
            raise TypeError(
                "PCA: expected n_components to be an int, but got "
                f"{type(n_components).__name__}; pass the length of the code"
            )
        if n_components < 1:
            raise ValueError(
                f"PCA: expected n_components >= 1, but got {n_components}; "
                "a code needs at least one number"
            )
        self.n_components = n_components

    @property
    def latent_dim(self) -> int:
        """Length k of the code."""
        return self.n_components

    def fit(self, x: Tensor) -> "PCA":
        """Find mean and components of the rows of `x`.

        Parameters
        ----------
        x : Tensor of shape (n, d)
            One example a row, floating point.

        Returns
        -------
        PCA
            The model itself, fitted.

        Raises
        ------
        TypeError
            If `x` is not a floating-point tensor.
        ValueError
            If `x` is not a matrix of finite numbers, if all its rows are equal, or if
            n centred rows in d dimensions do not span `n_components` directions.
        """
        _check_matrix("fit", "x", x)
        n, d = x.shape
        k, most = self.n_components, max(min(n - 1, d), 0)
        if k > most:
            raise ValueError(
                f"PCA: expected n_components <= min(n - 1, d) = {most}, but got {k}; "
                f"{n} centred points in {d} dimensions span no more directions: "
                "ask for fewer components or bring more data"
            )
        if (x == x[0]).all():
            raise ValueError(
                f"PCA: expected rows that differ, but got {n} equal rows; without "
                "variance there is no direction to find: check the data"
            )
        mean = x.mean(dim=0)
        _, s, vt = torch.linalg.svd(x - mean, full_matrices=False)
        largest = vt[:k].abs().argmax(dim=1, keepdim=True)  # (k, 1)
        variance = s.square() / (n - 1)  # n - 1, not n: the mean was fitted as well
        self.mean_ = mean  # (d,)
        self.components_ = vt[:k] * vt[:k].gather(1, largest).sign()  # (k, d)
        self.singular_values_ = s[:k]  # (k,)
        self.explained_variance_ = variance[:k]  # (k,)
        self.explained_variance_ratio_ = variance[:k] / variance.sum()  # (k,)
        return self

    def encode(self, x: Tensor) -> Tensor:
        """Project centred rows on the components.

        Parameters
        ----------
        x : Tensor of shape (n, d)

        Returns
        -------
        Tensor of shape (n, k)

        Raises
        ------
        RuntimeError
            If the model is not fitted.
        TypeError, ValueError
            If `x` is not a floating-point matrix with d columns.
        """
        self._check_width("encode", "x", x, 1)
        return (x - self.mean_) @ self.components_.T

    def decode(self, z: Tensor) -> Tensor:
        """Rebuild rows from codes: the mean plus a mixture of components.

        Parameters
        ----------
        z : Tensor of shape (n, k)

        Returns
        -------
        Tensor of shape (n, d)

        Raises
        ------
        RuntimeError
            If the model is not fitted.
        TypeError, ValueError
            If `z` is not a floating-point matrix with k columns.
        """
        self._check_width("decode", "z", z, 0)
        return self.mean_ + z @ self.components_

    def forward(self, x: Tensor) -> PCAOutput:
        """Encode and decode.

        Parameters
        ----------
        x : Tensor of shape (n, d)

        Returns
        -------
        PCAOutput
            `x_hat` of shape (n, d) and `z` of shape (n, k).
        """
        z = self.encode(x)
        return PCAOutput(self.decode(z), z)

    __call__ = forward

    def __repr__(self) -> str:
        return f"PCA(n_components={self.n_components})"

    def _check_width(self, method: str, name: str, value: Tensor, axis: int) -> None:
        if not hasattr(self, "components_"):
            raise RuntimeError(
                f"PCA.{method}: expected a fitted model, but got none; "
                "call fit(x) on training data first"
            )
        _check_matrix(method, name, value)
        width = self.components_.shape[axis]
        if value.shape[1] != width:
            raise ValueError(
                f"PCA.{method}: expected {name} of shape (n, {width}), but got "
                f"{tuple(value.shape)}; pass rows like those that fit saw"
            )


def _check_matrix(method: str, name: str, value: Tensor) -> None:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        got = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(
            f"PCA.{method}: expected {name} to be a floating-point tensor, but got "
            f"{got}; convert it with torch.as_tensor({name}, dtype=torch.float32)"
        )
    if value.ndim != 2:
        raise ValueError(
            f"PCA.{method}: expected {name} with two dimensions, one example a row, "
            f"but got shape {tuple(value.shape)}; use flatten(1) on images"
        )
    if not value.isfinite().all():
        raise ValueError(
            f"PCA.{method}: expected finite numbers in {name}, but got inf or nan; "
            "drop or repair those rows"
        )
