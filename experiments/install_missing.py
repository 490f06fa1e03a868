"""Install what this machine lacks of ``requirements.txt``, and replace nothing that is there.

For notebooks in Colab, whose JAX fits its TPU or GPU driver: all versions that are there are held,
and pip finds versions of the rest that go with them, or says that there are none. What only tests
and documentation need is left out. A notebook calls ``runpy.run_path`` on this file.
"""

import importlib.metadata
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

began = time.monotonic()
there: dict[str, str] = {}
for package in importlib.metadata.distributions():
    there.setdefault(package.name.lower().replace("_", "-"), package.version)
requirements = Path(__file__).parents[1] / "requirements.txt"
wanted = requirements.read_text(encoding="utf-8").partition("# tests and checks")[0]
names = re.findall(r"^[A-Za-z0-9_.-]+", wanted, re.MULTILINE)
missing = [name for name in names if name.lower().replace("_", "-") not in there]
with tempfile.TemporaryDirectory() as folder:
    needed, held = Path(folder) / "needed.txt", Path(folder) / "held.txt"
    needed.write_text(wanted, encoding="utf-8")
    held.write_text("\n".join(f"{name}=={version}" for name, version in there.items()))
    if missing:
        pip = [sys.executable, "-m", "pip", "install", "-q", "-r", needed, "-c", held]
        subprocess.run(pip, check=True)
shown = ("jax", "jaxlib", "libtpu", "jax-cuda12-plugin", "flax", "numpy")
found = [f"{name} {there[name]}" for name in shown if name in there]
print(f"Python {sys.version.split()[0]},", ", ".join(found))
print(f"installed: {', '.join(missing) or 'nothing'} ({time.monotonic() - began:.0f} s)")
