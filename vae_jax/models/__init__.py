"""The densities p(x|z), q(z|x) and p(z): pure functions of ``(hparams, params)``.

:class:`vae_jax.models.vae.VAE` joins a likelihood, a posterior, a prior and a network. Each of
these is a package with one file per member and a registry in its ``__init__.py``.
"""
