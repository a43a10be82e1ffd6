"""A preset with weights, from a run: `keras_pixelcnnpp/presets/NAME/` with its model card.

    python benchmarks/preset.py round runs/cpen455
    pixelcnnpp evaluate classification --run runs/cpen455
    python benchmarks/results.py keep runs/cpen455
    python benchmarks/preset.py write runs/cpen455 --description "photographs, 16 levels"
    python benchmarks/preset.py card cpen455

The first rounds the weights of the run's model to half precision, so that what is measured is what
the preset then stores, in half the bytes. `write` needs reports/classification.json, whose numbers
go into `metadata.json`, and the run's options become the preset's, whose name is that of the run.
`card` writes the card, from the preset and from what `keep` copied: the CNN of the run, what
`evaluate generation` and `benchmarks/compression.py` found.
"""

import argparse
import math
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
# What a card says of the data; `limits` of what the samples show was seen by looking at them.
DATA = {
    "digits": {
        "images": "scikit-learn's handwritten digits",
        "license_tag": "cc-by-4.0",
        "use": "It classifies and samples digits of 8×8, in trials that take a minute.",
        "source": "`sklearn.datasets.load_digits`: the test set of the UCI data set Optical "
        "Recognition of Handwritten Digits (Alpaydin and Kaynak 1998), CC BY 4.0.",
        "limits": "It knows digits of this size, centered, and nothing else.",
    },
    "mnist": {
        "images": "MNIST's handwritten digits",
        "license_tag": "cc-by-sa-3.0",
        "use": "It classifies, samples, completes and scores digits of 28×28.",
        "source": "[MNIST](http://yann.lecun.com/exdb/mnist/) (LeCun, Cortes and Burges), "
        "CC BY-SA 3.0.",
        "limits": "It knows digits, light on dark and centered, and nothing else.",
    },
    "fashion_mnist": {
        "images": "Fashion-MNIST's pieces of clothing",
        "license_tag": "mit",
        "use": "It classifies, samples, completes, compresses and scores clothes of 28×28.",
        "source": "[Fashion-MNIST](https://github.com/zalandoresearch/fashion-mnist) (Xiao, Rasul "
        "and Vollgraf 2017), MIT license.",
        "limits": "Samples have the outline and the shading of their class; prints and logos are "
        "noise.",
    },
    "cpen455": {
        "images": "photographs of burgers, pandas, koalas and pizzas",
        "license_tag": "other",
        "use": "It classifies and samples photographs of these four classes at 32×32, and its "
        "recipe is the default for images of one's own.",
        "source": "3,639 labeled photographs from a course (CPEN 455, University of British "
        "Columbia), reduced to 32×32. **Their origin and license are not known: use these weights "
        "for research and teaching.**",
        "limits": "Samples have the colors and textures of their class, and at times its shapes; "
        "few show a whole object.",
    },
    "cpen455_likelihood": {
        "images": "photographs of burgers, pandas, koalas and pizzas",
        "license_tag": "other",
        "use": "It scores, completes and compresses photographs of these four classes at 32×32. "
        "The preset `cpen455` is the better classifier.",
        "limits": "Samples have the colors and textures of photographs, without objects.",
    },
}
DATA["cpen455_likelihood"]["source"] = DATA["cpen455"]["source"]
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


def write(folder, description, class_names):
    """Writes the preset of a run that was measured; its name is the run's."""
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
    target = PRESETS / run.name
    model.save_to_preset(target)
    metadata["sha256"] = halve(target / "model.weights.h5")
    write_json(target / "metadata.json", metadata)
    if run.has("reports/samples.png"):
        shutil.copy(folder.reports / "samples.png", target)
    print(f"Wrote {target}: {metadata['metrics']}")


def write_card(name):
    """Writes a preset's README.md, from its folder and from `benchmarks/results`."""
    run, compression = Run(RESULTS / name), RESULTS / f"compression-{name}.json"
    folder = PRESETS / name
    model = kp.AutoregressiveModel.from_preset(name)
    text = markdown_template("model_card.md.j2").render(
        name=name,
        data=DATA[name],
        metadata=read_json(folder / "metadata.json"),
        run=run,
        shape=model.image_shape,
        num_levels=model.num_levels,
        class_names=model.class_names,
        parameters=model.count_params(),
        megabytes=(folder / "model.weights.h5").stat().st_size / 1e6,
        logit_scale=model.logit_scale,
        class_bias=model.class_bias,
        hybrid=model.label_loss_weight > 0,
        has_samples=(folder / "samples.png").exists(),
        cnn=run.json("reports/classification.json")["models"].get("baseline"),
        coded=read_json(compression) if compression.exists() else None,
        consistency=(run.json("reports/generation.json") or {}).get("class_consistency"),
        bits=math.log2,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("round", "write", "card"))
    parser.add_argument("run", help="folder of the run; for `card`, name of the preset")
    parser.add_argument("--description", default="", help="of the preset, in one line")
    parser.add_argument("--class-names", help="with commas between; by default, the model's")
    options = parser.parse_args()
    if options.step == "card":
        write_card(options.run)
    elif options.step == "round":
        round_weights(RunFolder(options.run))
    else:
        write(RunFolder(options.run), options.description, options.class_names)


if __name__ == "__main__":
    main()
