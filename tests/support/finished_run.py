"""A run folder with everything that the commands write, without any of them having run."""

import io

import numpy as np
from PIL import Image

from keras_pixelcnnpp.files import write_json
from keras_pixelcnnpp.run import RunFolder

SECTIONS = (
    "Samples",
    "Comparison with the CNN",
    "Training",
    "Data",
    "Model",
    "Generation metrics",
    "Temperatures",
    "Completions",
    "Nearest neighbours",
    "Classes",
    "Confusion",
    "ROC",
    "Calibration",
    "Selective accuracy",
    "Part of a picture",
    "Evidence maps",
    "Foreign inputs",
    "Reproduce",
)
"""All that a report can have."""

METRICS = {
    "frechet_distance": 1.25,
    "kid": 0.0125,
    "precision": 0.75,
    "recall": 0.5,
    "density": 1.125,
    "coverage": 0.625,
}
PICTURES = (
    "samples",
    "temperatures",
    "completions",
    "nearest_neighbours",
    "reliability",
    "selective_accuracy",
    "partial",
    "evidence",
    "foreign",
    "confusion_pixelcnnpp",
    "confusion_baseline",
    "roc_pixelcnnpp",
    "roc_baseline",
)


def config(class_names=("cat", "dog")):
    """The content of `config.json`."""
    many, none = [1234] * len(class_names), [0] * len(class_names)
    versions = {
        "python": "3.11.7",
        "backend": "tensorflow",
        "machine": "2 × CPU",
        "keras": "3.15.1",
    }
    pixelcnnpp = {
        "filters": [24, 48],
        "num_blocks": 1,
        "num_resolutions": 2,
        "conditioning": "bias",
        "epochs": 3,
        "horizontal_flip": False,
        "jit_compile": "auto",
        "seed": 7,
        "limit": None,
    }
    return {
        "data": {
            "source": "/data/two words",
            "seed": 7,
            "fingerprint": "f00d" * 16,
            "class_names": list(class_names),
            "image_shape": [8, 8, 3],
            "num_levels": 256,
            "counts": {"train": [*many, 0], "validation": [*many, 0], "test": [*none, 5]},
        },
        "pixelcnnpp": {"options": pixelcnnpp, "parameters": 123456, "versions": versions},
        "baseline": {"options": {"epochs": 2, "weight_decay": 0.02}, "versions": versions},
    }


def write_finished_run(path, class_names=("cat", "dog")):
    """Writes the folder and returns it as a `RunFolder`."""
    run = RunFolder(path)
    write_json(run.config_json, config(class_names))
    write_json(
        run.history_json("pixelcnnpp"), [_epoch(n, val_bits_per_dim=5 / n) for n in (1, 2, 3)]
    )
    write_json(run.history_json("baseline"), [_epoch(n) for n in (1, 2)])
    for name, content in _reports(class_names).items():
        write_json(run.reports / f"{name}.json", content)
    for name in (*PICTURES, *(f"samples_{name}" for name in class_names if "/" not in name)):
        write_png(run.reports / f"{name}.png")
    return run


def write_png(path, size=(90, 60)):
    """Writes a picture of noise."""
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3)).astype("uint8")
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())


def _epoch(number, **measured):
    return {
        "epoch": number,
        "seconds": 10.0 * number,
        "accuracy": 0.5,
        "val_accuracy": 0.25 * number,
        "val_cross_entropy": 1.5 / number,
        **measured,
    }


def _reports(class_names):
    classification = {
        "split": "validation",
        "count": 10,
        "models": {"pixelcnnpp": _classifier(class_names), "baseline": _classifier(class_names)},
        "mcnemar_p": 0.625,
        "accuracy_difference": {"value": -0.1, "ci95": [-0.3, 0.1]},
        "pixel_histogram_bits_per_dim": 6.75,
    }
    generation = {
        "per_class": 4,
        "seed": 3,
        "temperature": 1.0,
        "guidance": 0.0,
        "count": 8,
        "seconds": 2.5,
        "bits_per_dim": 3.5,
        "features": {"name": "baseline_cnn", "dimensions": 128},
        "reference": {"split": "validation", "count": 10},
        "metrics": {name: {**METRICS, "floor": METRICS} for name in ("all", *class_names)},
        "memorisation": {"pixels": {"median_distance": 2.5, "identical": 0.125}},
        "fid": {"2048": {"all": 33.5, "floor": 22.25}},
        "temperatures": [{"temperature": 0.7, "bits_per_dim": 2.5, "frechet_distance": 4.5}],
    }
    return {
        "classification": classification,
        "partial": {
            "shares": [0.0, 1.0],
            "models": {
                "pixelcnnpp": {"accuracy": [0.5, 0.8]},
                "baseline": {"accuracy": [0.5, 0.8]},
            },
        },
        "generation": generation,
        "evidence": {"split": "validation"},
        "foreign": {
            "split": "validation",
            "detectors": {"log_likelihood": "bits/dim of p(x)"},
            "inputs": {"noise": {"auroc": {"log_likelihood": 0.875}}},
        },
    }


def _classifier(class_names):
    row = {"precision": 0.5, "recall": 0.75, "f1-score": 0.6, "support": 5.0}
    return {
        "accuracy": 0.8,
        "accuracy_ci95": [0.49, 0.943],
        "log_loss": 0.4321,
        "ece": 0.0625,
        "bits_per_dim": 3.25,
        "classification_report": dict.fromkeys(class_names, row),
        "roc_auc": {"macro": 0.9, "classes": dict.fromkeys(class_names, 0.9)},
        "temperature_scaling": {"ece": 0.03125, "log_loss": 0.375},
        "selective_accuracy": {"area": 0.9375, "at_coverage": {"0.5": 1.0, "0.8": 0.875}},
    }
