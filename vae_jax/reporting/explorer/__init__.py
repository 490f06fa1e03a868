"""Explorer of the latent space: ``explorer.html``, a page in which a run's decoder runs.

The page is one file that needs no network: template, style and scripts of this folder, and the
weights, codes and test examples as text. Nothing is compiled or bundled; what a reader finds in the
page is what stands here.

==================  ============================================================================
``layers``          the decoder of a run as a list of layers, and what they compute (numpy)
``packing``         arrays as text: float16, or 8 bits a row
``distributions``   what a page must know of p(z) and p(x|z) to sample from them
``contents``        everything that a page holds, and which runs of a study it has room for
``page``            the HTML file
``*.js``            the same layers and distributions in JavaScript, paths, drawing, the page
==================  ============================================================================
"""

from vae_jax.reporting.explorer.page import write

__all__ = ["write"]
