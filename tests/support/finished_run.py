"""A run folder with everything that the commands write, without any of them having run."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from keras_pixelcnnpp.run import RunFolder

FILES = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
"""From the place of a file to its content."""

SECTIONS = (
    "Samples",
    "Comparison with the CNN",
    "Training",
    "Data",
    "Model",
    "Generation metrics",
    "Temperatures",
    "Completions",
    "Nearest neighbors",
    "Classes",
    "Confusion",
    "ROC",
    "Calibration",
    "Selective accuracy",
    "Part of an image",
    "Evidence maps",
    "Out-of-distribution inputs",
    "Reproduce",
)
"""All that a report can have."""

IMAGES = (
    "samples",
    "temperatures",
    "completions",
    "nearest_neighbors",
    "reliability",
    "selective_accuracy",
    "partial",
    "evidence",
    "ood",
    "confusion_pixelcnnpp",
    "confusion_baseline",
    "roc_pixelcnnpp",
    "roc_baseline",
)


def write_finished_run(path, class_names=("cat", "dog")):
    """Writes the folder and returns it as a `RunFolder`."""
    run = RunFolder(path)
    for name, content in FILES.items():
        text = json.dumps(content)
        for old, new in zip(("cat", "dog"), class_names, strict=True):
            text = text.replace(json.dumps(old), json.dumps(new))
        file = run.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    for name in (*IMAGES, *(f"samples_{name}" for name in class_names if "/" not in name)):
        write_png(run.reports / f"{name}.png")
    return run


def write_png(path, size=(90, 60)):
    """Writes an image of noise."""
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3)).astype("uint8")
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
