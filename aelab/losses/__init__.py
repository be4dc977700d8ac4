"""What is minimised: terms, one number an example, and objectives made of them.

A term compares data with what a decoder gives, summed over the features; the mean over
the batch is taken in ``training``, once. Terms are negative log-likelihoods in nats up
to a constant, the squared error one of a Gaussian of variance 1/2.

An objective is a function ``(model, x, generator) -> dict of terms`` whose key ``loss``
is what training minimises; the other keys are curves to look at. A new idea is a new
objective, and ``training`` stays as it is.

- :mod:`~aelab.losses.autoencoding`: the terms ``squared_error``, ``bernoulli``,
  ``categorical``, ``mixed``; the penalties ``weight_penalty``, ``l1``, ``kl_sparsity``;
  the objectives ``reconstruction``, ``sparse``, ``denoising``
- :mod:`~aelab.losses.variational`: the term ``gaussian``; the objectives ``elbo``,
  ``importance_weighted``, ``vector_quantised``
- :mod:`~aelab.losses.autoregressive`: the objective ``next_token``
"""

from aelab.losses.autoencoding import (
    bernoulli,
    categorical,
    denoising,
    kl_sparsity,
    l1,
    mixed,
    reconstruction,
    sparse,
    squared_error,
    weight_penalty,
)
from aelab.losses.autoregressive import next_token
from aelab.losses.variational import (
    elbo,
    gaussian,
    importance_weighted,
    vector_quantised,
)

__all__ = [
    "bernoulli",
    "categorical",
    "denoising",
    "elbo",
    "gaussian",
    "importance_weighted",
    "kl_sparsity",
    "l1",
    "mixed",
    "next_token",
    "reconstruction",
    "sparse",
    "squared_error",
    "vector_quantised",
    "weight_penalty",
]
