"""The models, one file a lecture: from x to x_hat, and nothing but forward maths."""

from aelab.models.autoencoder import Autoencoder
from aelab.models.pca import PCA
from aelab.models.sequence import SequenceModel
from aelab.models.vae import VAE
from aelab.models.vqvae import VQVAE

__all__ = ["PCA", "VAE", "VQVAE", "Autoencoder", "SequenceModel"]
