"""Where the examples come from, and what noise is put on them.

- :mod:`~aelab.data.image_sets`: ``images``, ``chosen``, ``ImageSet``
- :mod:`~aelab.data.toys`: ``line``, ``gaussian``, ``circle``, ``arc``, ``ring``,
  ``price_table``
- :mod:`~aelab.data.corruption`: ``add_gaussian_noise``, ``mask``, ``salt_and_pepper``
- :mod:`~aelab.data.idx` reads the files of MNIST, and :mod:`~aelab.data.checks` the
  arguments
"""

from aelab.data.corruption import add_gaussian_noise, mask, salt_and_pepper
from aelab.data.image_sets import IMAGE_SETS, ImageSet, chosen, images
from aelab.data.toys import arc, circle, gaussian, line, price_table, ring

__all__ = [
    "IMAGE_SETS",
    "ImageSet",
    "add_gaussian_noise",
    "arc",
    "chosen",
    "circle",
    "gaussian",
    "images",
    "line",
    "mask",
    "price_table",
    "ring",
    "salt_and_pepper",
]
