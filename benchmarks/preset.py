"""A preset with weights, from a run: `keras_pixelcnnpp/presets/NAME/` with its model card.

    python benchmarks/preset.py round runs/cpen455
    pixelcnnpp evaluate classification --run runs/cpen455
    python benchmarks/preset.py write runs/cpen455 cpen455 --description "photographs, 16 levels"

The first rounds the weights of the run's model to half precision, so that what is measured is what
the preset then stores, in half the bytes. The last needs reports/classification.json, whose numbers
go into `metadata.json` and the card, and the run's options become the preset's: one command makes
it again from random weights. The card says what else was measured: the CNN of the run, what
`evaluate generation` and `benchmarks/compression.py` found.
"""

import argparse
import shutil
from pathlib import Path

import h5py
import numpy as np
from common import RESULTS
from results import Run, markdown_template

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.files import atomic_path, read_json, sha256, write_json
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train.options import TRAINING_DEFAULTS, WATCHING

PRESETS = Path(kp.__file__).parent / "presets"
LICENSES = {"mnist": "CC BY-SA 3.0", "fashion_mnist": "MIT"}
# Of one training: the machine it ran on, what was looked at meanwhile.
OF_THE_RUN = ("precision", "jit_compile", "seed", "max_examples", *WATCHING)


def training_options(options):
    """What a preset keeps of a run's options: the epochs, and those that aren't the defaults."""
    return {
        name: options[name]
        for name, default in TRAINING_DEFAULTS.items()
        if name in options and name not in OF_THE_RUN
        if options[name] != default or name == "epochs"
    }


def round_weights(folder):
    """Rounds the weights of the run's model to half precision, in its archive."""
    model = load_trained_model(folder.model_keras)
    rounded = [
        value.astype("float16").astype("float32") if value.dtype == "float32" else value
        for value in model.get_weights()
    ]
    model.set_weights(rounded)
    with atomic_path(folder.model_keras) as temporary:
        model.save(temporary)


def halve(path):
    """Stores the arrays of an HDF5 file whose numbers are all of half precision in half the bytes.

    Returns the file's checksum.
    """

    def copy(name, item):
        if isinstance(item, h5py.Group):
            new.require_group(name).attrs.update(item.attrs)
            return
        values = item[()]
        if values.dtype == "float32":
            with np.errstate(over="ignore"):
                half = values.astype("float16")
            values = half if np.array_equal(half.astype("float32"), values) else values
        new.create_dataset(name, data=values).attrs.update(item.attrs)

    with atomic_path(path) as temporary, h5py.File(path) as old, h5py.File(temporary, "w") as new:
        new.attrs.update(old.attrs)
        old.visititems(copy)
    return sha256(path)


def write(folder, name, description, class_names):
    """Writes the preset `name` from a run that was measured."""
    run = Run(folder.path)
    report = run.json("reports/classification.json")
    config = run.config
    trained_with = config["pixelcnnpp"]["options"]
    metadata = {
        "description": description,
        "training": training_options(trained_with),
        "data": Path(config["data"]["source"]).name,
        "fingerprint": config["data"]["fingerprint"],
        "epochs": run.epochs("pixelcnnpp"),
        "seed": trained_with["seed"],
        "versions": config["pixelcnnpp"]["versions"],
        "split": report["split"],
        "count": report["count"],
        "tta_flip": report.get("tta_flip", False),
        "metrics": {
            key: report["models"]["pixelcnnpp"][key]
            for key in ("accuracy", "accuracy_ci95", "log_loss", "ece", "bits_per_dim")
        },
    }
    model = load_trained_model(folder.model_keras)
    if class_names:
        model.class_names = tuple(class_names.split(","))
    target = PRESETS / name
    model.save_to_preset(target)
    metadata["sha256"] = halve(target / "model.weights.h5")
    write_json(target / "metadata.json", metadata)
    if run.has("reports/samples.png"):
        shutil.copy(folder.reports / "samples.png", target)
    compression = RESULTS / f"compression-{name}.json"
    generation = run.json("reports/generation.json") or {}
    text = markdown_template("model_card.md.j2").render(
        run=run,
        config=config,
        metadata=metadata,
        class_names=model.class_names,
        license=LICENSES.get(metadata["data"]),
        cnn=report["models"].get("baseline"),
        coded=read_json(compression) if compression.exists() else None,
        named=generation.get("class_consistency"),
        temperatures=generation.get("temperatures"),
    )
    (target / "README.md").write_text(text, encoding="utf-8")
    print(f"Wrote {target}: {metadata['metrics']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("round", "write"))
    parser.add_argument("run", type=Path)
    parser.add_argument("name", nargs="?")
    parser.add_argument("--description", default="", help="of the preset, in one line")
    parser.add_argument("--class-names", help="with commas between; by default, the model's")
    options = parser.parse_args()
    folder = RunFolder(options.run)
    if options.step == "round":
        round_weights(folder)
    elif options.name is None:
        parser.error("write needs the name of the preset")
    else:
        write(folder, options.name, options.description, options.class_names)


if __name__ == "__main__":
    main()
