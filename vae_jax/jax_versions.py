"""What differs between the versions of JAX that this project runs on, from 0.7.2 to the newest.

Each name stands here with the version from which on JAX alone has it, and goes once
``requirements.txt`` asks for that version.
"""

import jax

if hasattr(jax, "enable_x64"):
    enable_x64 = jax.enable_x64
else:  # can go from jax 0.8 on
    from jax.experimental import enable_x64

__all__ = ["enable_x64"]
