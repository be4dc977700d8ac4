"""Where the examples come from, and what noise is put on them.

- :mod:`~aelab.data.image_sets`: ``images``, ``chosen``, ``ImageSet``
- :mod:`~aelab.data.texts`: ``text``
- :mod:`~aelab.data.toys`: ``line``, ``gaussian``, ``circle``, ``arc``, ``ring``,
  ``price_table``
- :mod:`~aelab.data.corruption`: ``add_gaussian_noise``, ``mask``, ``salt_and_pepper``
- :mod:`~aelab.data.sources`: ``fetch``, ``find``, ``stored``, ``cache_folder``: what is
  downloaded when asked for, and never otherwise; :mod:`~aelab.data.download` does it
- :mod:`~aelab.data.idx` reads the files of MNIST, and :mod:`~aelab.data.checks` the
  arguments
"""

from aelab.data.corruption import add_gaussian_noise, mask, salt_and_pepper
from aelab.data.image_sets import IMAGE_SETS, ImageSet, chosen, images
from aelab.data.sources import SOURCES, cache_folder, fetch, find, stored
from aelab.data.texts import TEXTS, text
from aelab.data.toys import arc, circle, gaussian, line, price_table, ring

__all__ = [
    "IMAGE_SETS",
    "SOURCES",
    "TEXTS",
    "ImageSet",
    "add_gaussian_noise",
    "arc",
    "cache_folder",
    "chosen",
    "circle",
    "fetch",
    "find",
    "gaussian",
    "images",
    "line",
    "mask",
    "price_table",
    "ring",
    "salt_and_pepper",
    "stored",
    "text",
]
