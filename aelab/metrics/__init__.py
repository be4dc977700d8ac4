"""Numbers about results: codes, pictures, and what they cost in nats and bits.

- :mod:`~aelab.metrics.codes`: ``subspace_sine``, ``knn_accuracy``, ``probe_accuracy``,
  ``kl_units``, ``active_units``
- :mod:`~aelab.metrics.information`: ``bits_per_dimension``, ``bits_per_character``,
  ``stationary``, ``entropy_rate``
- :mod:`~aelab.metrics.pictures`: ``psnr``, ``ssim``
"""

from aelab.metrics.codes import (
    active_units,
    kl_units,
    knn_accuracy,
    probe_accuracy,
    subspace_sine,
)
from aelab.metrics.information import (
    bits_per_character,
    bits_per_dimension,
    entropy_rate,
    stationary,
)
from aelab.metrics.pictures import (
    psnr,
    ssim,
)

__all__ = [
    "active_units",
    "bits_per_character",
    "bits_per_dimension",
    "entropy_rate",
    "kl_units",
    "knn_accuracy",
    "probe_accuracy",
    "psnr",
    "ssim",
    "stationary",
    "subspace_sine",
]
