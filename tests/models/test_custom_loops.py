"""The code of the page on training loops, under the backend that runs."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "custom_loops.md"
TITLES = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "torch"}


@pytest.mark.slow
def test_the_loop_of_the_page_trains(capsys):
    sections = re.split(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    texts = dict(zip(sections[1::2], sections[2::2], strict=True))
    own = texts[TITLES[keras.backend.backend()]]
    code = "".join(re.findall(r"```python\n(.*?)```", sections[0] + own, re.DOTALL))
    names = {}
    exec(compile(code, PAGE.name, "exec"), names)
    first, second = (float(line.split()[0]) for line in capsys.readouterr().out.splitlines())
    assert 1.8 < second < first < 4.09
    # The variables of the model are the trained ones.
    test = names["kp"].data.load_dataset("digits").split("test")
    measured = -names["model"].log_prob(test.images, test.labels, verbose=0).mean() / names["bits"]
    assert np.isclose(measured, second, atol=0.3)
