"""Rows of a small study."""

BETAS, SIZES, SWEPT = (0.5, 1.0, 8.0), (2, 10), ["beta", "latent_size", "seed"]


def row(run, seed=0, elbo=-100.0, kl=20.0, **axes):
    terms = {"test_elbo": elbo, "test_kl": kl, "test_log_likelihood": elbo + kl, "test_nll": -elbo}
    errors = {f"{name}_se": 0.5 for name in terms}
    known = {"active_units": 4, "valid_elbo": elbo, "diverged": ""}
    return {"run": run, "seed": seed, **axes, **terms, **errors, **known}


def lose(lost):
    names = [name for name in lost if name.startswith("test_")]
    lost.update(dict.fromkeys([*names, "active_units", "valid_elbo"]), diverged=3)


def study():
    """Two seeds two nats apart; best is beta = 1, latent size = 10, seed 0."""
    rows = [
        row(0, seed, -100.0 - 10 * abs(beta - 1) + size / 10 - 2 * seed, 20 / beta, **axes)
        for beta in BETAS
        for size in SIZES
        for seed in (0, 1)
        for axes in [{"beta": beta, "latent_size": size}]
    ]
    return [{**r, "run": run} for run, r in enumerate(rows)]
