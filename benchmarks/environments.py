"""The Pythons of the backends, known without importing one of them."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
# The environments of `make test-all`.
PYTHONS = {
    "tensorflow": ROOT / ".venv/bin/python",
    "jax": ROOT / ".venv-jax/bin/python",
    "torch": ROOT / ".venv-torch/bin/python",
}
FOUND = [backend for backend, python in PYTHONS.items() if python.exists()]
