"""Creates a preset with weights and its model card from a run.

    make preset NAME=photographs DESCRIPTION="photographs, 16 levels"

calls `round`, `evaluate classification`, `results.py keep`, `write` and `card` for the run folder
runs/photographs. The preset is written to `keras_pixelcnnpp/presets/NAME/`, where NAME is the name
of the run folder. `round` rounds the weights of the run to half precision, which halves the size of
the preset, so that the evaluation measures the weights of the preset. `write` stores the run's
options as those of the preset. `card` writes the metrics that `keep` copied to `metadata.json`, and
it writes the model card, with the texts in `benchmarks/cards.toml`.
"""

import shutil
from pathlib import Path
from typing import Annotated

import h5py
import keras
import typer
from common import RESULTS
from results import CARDS, Run, markdown_template

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.recipes.recipe import FORMAT, recipe_of_run
from keras_pixelcnnpp.utils.files import atomic_path, read_json, sha256, write_json

PRESETS = Path(kp.__file__).parent / "presets"
METRICS = ("accuracy", "accuracy_ci95", "log_loss", "ece", "bits_per_dim")

app = typer.Typer(help="Create a preset from a run.", no_args_is_help=True)
Folder = Annotated[Path, typer.Argument(help="Run folder, whose name the preset gets.")]


def halve(path):
    """Stores float32 arrays of an HDF5 file as float16 if nothing is lost."""

    def copy(name, item):
        if isinstance(item, h5py.Group):
            copied = new.require_group(name)
        else:
            values = item[()]
            if values.dtype == "float32" and (values.astype("float16") == values).all():
                values = values.astype("float16")
            copied = new.create_dataset(name, data=values)
        copied.attrs.update(item.attrs)

    with atomic_path(path) as temporary, h5py.File(path) as old, h5py.File(temporary, "w") as new:
        new.attrs.update(old.attrs)
        old.visititems(copy)


# The texts of a card, until `cards.toml` has those of the preset.
UNKNOWN = {
    "license_tag": "other",
    "images": "images that are not described yet",
    "use": "It classifies, samples and scores images like those that it was trained on.",
    "source": "The source and the license of the images are not stated yet.",
    "limits": "It was trained only on images of this kind and size.",
}


@app.command("round")
def round_weights(folder: Folder):
    """Round the weights of a run's model to half precision, in place."""
    path = Run(folder).model_keras
    model = load_trained_model(path)
    for variable in model.weights:
        if variable.dtype == "float32":
            variable.assign(keras.ops.cast(keras.ops.cast(variable, "float16"), "float32"))
    with atomic_path(path) as temporary:
        model.save(temporary)


@app.command()
def write(
    folder: Folder,
    description: Annotated[str, typer.Option(help="Description in one line.")] = "",
    class_names: Annotated[
        str | None, typer.Option(help="Class names, comma-separated. Default: the model's.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Number of epochs of its recipe. Default: the run's.")
    ] = None,
):
    """Write a preset from an evaluated run."""
    run = Run(folder)
    config = run.config
    recipe = recipe_of_run(config, "pixelcnnpp")
    of_preset = recipe.with_epochs(epochs) if epochs else recipe
    metadata = {
        "description": description,
        "format": FORMAT,
        "training": of_preset.values(recipe.names("of_preset")),
        "data": config["data"]["source"],
        "fingerprint": config["data"]["fingerprint"],
        "epochs": run.epochs("pixelcnnpp"),
        "seed": recipe.seed,
        "split_seed": recipe.split_seed or 0,
        "versions": config["pixelcnnpp"]["versions"],
    }
    model = load_trained_model(run.model_keras)
    if class_names:
        model.class_names = tuple(class_names.split(","))
    target, text = PRESETS / run.name, CARDS.get(run.name, {})  # none for a new preset
    metadata |= {"guidance": text["guidance"]} if "guidance" in text else {}
    model.save_to_preset(target)
    halve(target / "model.weights.h5")
    metadata["sha256"] = sha256(target / "model.weights.h5")
    write_json(target / "metadata.json", metadata)
    if (run.reports / "samples.png").exists():
        shutil.copy(run.reports / "samples.png", target)
    print(f"Wrote {target}")


@app.command()
def card(name: Annotated[str, typer.Argument(help="Name of the preset.")]):
    """Write the metrics and the README.md of a preset from `benchmarks/results`."""
    run, folder = Run(RESULTS / name), PRESETS / name
    report = run.json("reports/classification.json")
    metadata = read_json(folder / "metadata.json") | {
        "split": report["split"],
        "count": report["count"],
        "metrics": {metric: report["models"]["pixelcnnpp"][metric] for metric in METRICS},
    }
    write_json(folder / "metadata.json", metadata)
    text = markdown_template("model_card.md.j2").render(
        name=name,
        data=UNKNOWN | CARDS.get(name, {}),
        metadata=metadata,
        run=run,
        report=report,
        model=kp.AutoregressiveModel.from_preset(name),
        megabytes=(folder / "model.weights.h5").stat().st_size / 1e6,
        has_samples=(folder / "samples.png").exists(),
        generation=run.json("reports/generation.json"),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
    if name not in CARDS:
        print(f"Describe the data of {name} in benchmarks/cards.toml, and run `card` again")


if __name__ == "__main__":
    app()
