"""The folder of a run: its files, its configuration `config.json` and their checks."""

import copy
import itertools
import json
import os
import platform
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from keras_pixelcnnpp.data.dataset import Dataset, LabeledImages, with_missing_splits
from keras_pixelcnnpp.data.images import RESIZES
from keras_pixelcnnpp.data.load import CLASS_NAMES, load_dataset
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.files import (
    read_json,
    remove_leftovers,
    safe_names,
    write_bytes,
    write_json,
)
from keras_pixelcnnpp.presets import preset_names

# Commands that train the model of each section.
COMMANDS = {"pixelcnnpp": "train", "baseline": "train-baseline"}


class RunFolder:
    """Paths and configuration of a training run, `runs/NAME/`.

    ```
    config.json  model.keras  baseline.keras  checkpoints/  logs/
    samples/  reports/  savedmodel/1/
    ```

    `config.json` has a section for each trained model (`pixelcnnpp`, `baseline`), and a common
    section `data`, because the models can be compared only if they are trained on the same images.

    Args:
        path: The folder, which may not exist yet.

    Attributes:
        config_json: Path of the configuration: options, versions, seeds, fingerprint of the data.
        other_data: Source of other data that the reports are about, as for `load_dataset`, or
            `None` for the run's own data.
        samples: Folder of generated images.
        reports: Folder of the results of the `evaluate` commands.
        savedmodel: Folder of exported SavedModels, with a numbered folder for each version.
        model_keras: Path of the trained PixelCNN++.
        baseline_keras: Path of the trained baseline CNN.

    Example:

    ```python
    run = RunFolder("runs/digits")
    model = keras.models.load_model(run.model("pixelcnnpp"))
    ```
    """

    MODEL_FILES = {"pixelcnnpp": "model.keras", "baseline": "baseline.keras"}  # noqa: RUF012

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.other_data: str | None = None
        self.config_json = self.path / "config.json"
        self.samples = self.path / "samples"
        self.reports = self.path / "reports"
        self.savedmodel = self.path / "savedmodel"
        self.model_keras = self.model("pixelcnnpp")
        self.baseline_keras = self.model("baseline")

    def model(self, section: str) -> Path:
        """Returns the path of the trained model of `section`, `"pixelcnnpp"` or `"baseline"`."""
        return self.path / self.MODEL_FILES[section]

    def checkpoints(self, section: str) -> Path:
        """Returns the folder of the checkpoints of `section`."""
        return self.path / "checkpoints" / section

    def logs(self, section: str) -> Path:
        """Returns the folder of the TensorBoard logs of `section`."""
        return self.path / "logs" / section

    def history_json(self, section: str) -> Path:
        """Returns the path of the metrics of each epoch in the training of `section`."""
        return self.logs(section) / "history.json"

    def history(self, section: str) -> list[dict]:
        """Returns the metrics of each epoch in the training of `section`; see `read_history`."""
        return read_history(self.history_json(section))

    def has_checkpoint(self, section: str) -> bool:
        """Returns whether the training of `section` has a checkpoint."""
        return any(self.checkpoints(section).glob("epoch-*.npz"))

    def exists(self) -> bool:
        """Returns whether the folder contains a run, not a preset (which also has a config)."""
        return self.config_json.is_file() and "data" in read_json(self.config_json)

    def read_config(self) -> dict:
        """Returns the content of `config.json`.

        Raises:
            UserError: If it is missing or damaged. The message names the entry.
        """
        if not self.config_json.is_file():
            if not self.path.exists() and str(self.path) in preset_names():
                raise UserError(f"{self.path} is the name of a preset. Use it with --preset")
            raise UserError(
                f"No run in {self.path}: it has no config.json. Train one first: "
                f"pixelcnnpp train --data … --run {shlex.quote(str(self.path))}"
            )
        config = read_json(self.config_json)
        for name in self.MODEL_FILES:
            section = config.get(name, {"options": {}})
            if not (isinstance(section, dict) and isinstance(section.get("options"), dict)):
                raise UserError(f"{self.config_json} is damaged: {name!r} has no options")
        needed = ("source", "fingerprint", "seed", "class_names", "image_shape")
        check_data(config.get("data"), self.config_json, needed)
        return config

    def load_data(self, source: str | None = None, classes_in_order: bool = False) -> Dataset:
        """Loads the data of the run, or other data in the form that its models expect.

        The data of the run are recognized by their fingerprint, wherever they are, and split as in
        training. Other data are not split randomly, and notes on them are printed.

        Args:
            source: Source of other data, as for `load_dataset`, or `None` for the run's own data.
            classes_in_order: Boolean, whether to assign classes with other names to the run's
                classes by their order.

        Raises:
            UserError: If the run's own images have changed, or the classes of other data don't fit.
        """
        known = self.read_config()["data"]
        dataset = self.load_images(source or known["source"])
        split = _split_as_in_training(dataset, known["seed"])
        if split.fingerprint() == known["fingerprint"]:
            dataset = split
        elif source is None or str(Path(source).resolve()) == known["source"]:
            raise UserError(
                f"{known['source']} has changed since the run was trained on it, so training "
                "images may be in other splits now. Restore it, or choose other data with --data."
            )
        if source is not None:
            print("\n".join(dataset.notes), end="\n" * bool(dataset.notes))
        if len(known["class_names"]) < 2:
            return dataset  # an unconditional model
        return dataset.with_classes(known["class_names"], classes_in_order)

    def training_images(self, dataset: Dataset) -> LabeledImages:
        """Returns the images that the run was trained on, for an evaluation of `dataset`.

        Args:
            dataset: Result of `load_data`, perhaps other data. If the run's own data are not
                available, a note is printed, and the split `train` of `dataset` is used. Without
                this split, the result has no images.
        """
        known = self.read_config()["data"]
        if dataset.fingerprint() != known["fingerprint"]:
            try:
                dataset = self.load_data(classes_in_order=True)
            except (UserError, OSError):
                others = f"The training images of {dataset.name} are used instead."
                none = "Comparisons with training images are omitted."
                print(
                    f"Note: {known['source']}, which the run was trained on, is missing or has "
                    f"changed. {others if 'train' in dataset.splits else none}"
                )
        trained = self.read_config().get("pixelcnnpp", {"options": {}})["options"]
        unlabeled = trained.get("conditioning") == "none" or trained.get("unlabeled_weight")
        any_split = dataset.split(dataset.split_to_measure())
        train = dataset.splits.get("train", any_split.take(slice(0)))
        train = train.some(trained.get("max_examples"), trained.get("seed", known["seed"]))
        return train.labeled() if dataset.num_classes and not unlabeled else train

    def load_images(self, source: str) -> Dataset:
        """Loads images of any classes in the form that the run's models expect, not split randomly.

        Args:
            source: Source of the data, as for `load_dataset`.
        """
        known = self.read_config()["data"]
        height, width, channels = known["image_shape"]
        return load_dataset(
            source,
            image_size=(height, width),
            channels=channels if channels in (1, 3) else None,
            seed=known["seed"],
            resize=known.get("resize", "center_crop"),
            # Of other data, files that cannot be read are skipped with a note.
            skip_corrupted=source != known["source"] or known.get("skip_corrupted", False),
            white_level=known.get("white_level"),
            make_splits=False,
        )

    def measured_on(self, source: str) -> "RunFolder":
        """Returns this run with a separate folder of reports and samples for other data.

        The folder has the name of the data, and a number if other data of this name were measured.

        Args:
            source: Source of the other data, as for `load_dataset`.
        """
        path = Path(source).resolve()
        (name,) = safe_names([(path.name if path.is_dir() else path.stem) or "data"])
        other = copy.copy(self)
        other.other_data = str(source) if str(source) in CLASS_NAMES else str(path)
        names = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
        other.reports = next(
            folder
            for folder in map(self.reports.joinpath, names)
            if _source_of_reports(folder) in (None, other.other_data)
        )
        other.samples = other.reports / "samples"
        return other

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Context manager that locks the folder for training, or raises a `UserError`."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock, holder = FileLock(self.path / ".lock"), self.path / ".lock.txt"
        try:
            lock.acquire(timeout=0)
        except Timeout:
            by = holder.read_text(encoding="utf-8") if holder.is_file() else "another process"
            raise UserError(f"{self.path} is locked by the training of {by}") from None
        try:
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            text = f"process {os.getpid()} on {platform.node()}, since {since}"
            write_bytes(holder, text.encode())
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()

    def require_model(self, section: str) -> Path:
        """Returns the path of the trained model of `section`.

        Raises:
            UserError: If there is no trained model. The message says how to train or resume it.
        """
        path = self.model(section)
        if path.is_file():
            return path
        self.read_config()
        if self.has_checkpoint(section):
            raise UserError(
                f"The training of {section} in {self.path} has not finished. Repeat its command "
                "with --resume."
            )
        raise UserError(
            f"{self.path} has no trained {section}. Train it: pixelcnnpp {COMMANDS[section]} "
            f"--data … --run {shlex.quote(str(self.path))}"
        )

    def start(
        self,
        section: str,
        config: dict,
        data: dict,
        *,
        resume: bool = False,
        overwrite: bool = False,
        may_change: tuple[str, ...] = (),
    ) -> None:
        """Claims the folder for a training run and writes `config.json`.

        Args:
            section: `"pixelcnnpp"` or `"baseline"`.
            config: Dict, the content of this section. Runs are compared by its entry `options`.
            data: Dict, the section `data`. Data sets are compared by its `fingerprint`.
            resume: Boolean, whether to continue from the last checkpoint with the same options, or
                start again if there is none yet. If `epochs` changes, the trained model and its
                results are removed.
            overwrite: Boolean, whether to replace an existing run of this section. Its reports,
                samples and export are removed.
            may_change: Options that may differ when a run is resumed, such as `epochs`.

        Raises:
            UserError: If the folder contains a run with other options (the message names them) or
                other images, or a run although neither `resume` nor `overwrite` is true, or there
                is nothing to resume.
        """
        # Through JSON, so that tuples become lists, as in the file.
        config, data = json.loads(json.dumps([config, data]))
        for folder in (self.path, self.checkpoints(section), self.logs(section)):
            remove_leftovers(folder)
        known = self.read_config() if self.config_json.exists() else {}
        has_checkpoint = self.has_checkpoint(section)
        has_model = self.model(section).exists()
        kept = {name: known[name] for name in self.MODEL_FILES if name in known}
        # A run without checkpoint and model may be replaced. Only the section itself, because the
        # other model may be in its first epoch now.
        if not (resume or has_checkpoint or has_model):
            kept.pop(section, None)
        if resume and (section not in kept or (has_model and not has_checkpoint)):
            raise UserError(
                f"Nothing to resume in {self.path}: it has no checkpoint of {section}. "
                "Omit --resume to start a run."
            )
        if (has_model or has_checkpoint) and section not in known and not overwrite:
            raise UserError(
                f"{self.path} contains a {section} that is not in {self.config_json.name}. "
                "Choose another folder, or use --overwrite to replace it."
            )
        starts_over = overwrite and not resume and kept.pop(section, None) is not None
        if kept and known["data"]["fingerprint"] != data["fingerprint"]:
            found = _differing(data_options(known["data"]), data_options(data))
            advice = f"Use the options {found}" if found else "They have changed: restore them"
            raise UserError(
                f"{self.path} was trained on other images. {advice}; or choose another folder."
            )
        given = _chosen_examples(config["options"])
        for other in kept.keys() - {section}:
            if (begun := _chosen_examples(kept[other]["options"])) != given:
                raise UserError(
                    f"The {other} in {self.path} was trained on {begun}. Use the same "
                    f"--max-examples and --seed, or choose another folder. Received: {given}"
                )
        if section in kept:
            if not resume:
                raise UserError(
                    f"{self.path} already contains a run of {section}. Add --resume to continue "
                    "it or --overwrite to replace it, or choose another folder."
                )
            if found := _differing(kept[section]["options"], config["options"], may_change):
                raise UserError(
                    f"{self.path} was trained with other options. To resume it, use the same: "
                    f"{found}. Or replace it with --overwrite, or choose another folder."
                )
        epochs = [given["options"].get("epochs") for given in (known.get(section, config), config)]
        if resume and has_model and epochs[0] == epochs[1]:
            raise UserError(
                f"The training of {section} in {self.path} has finished. Use more --epochs to "
                "continue it, or --overwrite to replace it."
            )
        if not (resume and has_checkpoint):
            # Errors are raised here, because old checkpoints would be used for the new run.
            for folder in filter(Path.exists, (self.checkpoints(section), self.logs(section))):
                shutil.rmtree(folder)
            self.model(section).unlink(missing_ok=True)
        if starts_over or (resume and epochs[0] != epochs[1]):
            self.model(section).unlink(missing_ok=True)
            of_pixelcnnpp = (self.samples, self.savedmodel) if section == "pixelcnnpp" else ()
            for folder in (self.reports, *of_pixelcnnpp):
                shutil.rmtree(folder, ignore_errors=True)
        data = known["data"] if kept else data
        write_json(self.config_json, {"data": data, **kept, section: config})


def _source_of_reports(folder: Path) -> str | None:
    for file in sorted(folder.glob("*.json")):
        options = read_json(file).get("options")
        if isinstance(options, dict) and "data" in options:
            return options["data"]
    return None


def _split_as_in_training(dataset: Dataset, seed: int) -> Dataset:
    try:
        splits, notes = with_missing_splits(dataset.splits, seed)
    except UserError:  # too few images
        return dataset
    return replace(dataset, splits=splits, notes=(*notes, *dataset.notes))


def data_options(data: dict) -> dict:
    """Returns the options of a training command that select the images of a section `data`."""
    height, width, _ = data["image_shape"]
    return {
        "skip_corrupted": data.get("skip_corrupted") or None,
        "data": data["source"],
        "image_size": height if height == width else None,
        "channels": data.get("channels"),
        "resize": "stretch" if data.get("resize") == "stretch" else None,
        "white_level": data.get("white_level"),
        "seed": data.get("seed") or None,
    }


def data_words(data: dict) -> list[str]:
    """Returns the command-line arguments for `data_options`."""
    return words_of(data_options(data))


def words_of(options: dict) -> list[str]:
    """Converts options to command-line arguments, `--filters 24,48`, and omits `None`."""
    words = []
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            words += [f"--{flag}", text]
    return words


def _differing(known: dict, given: dict, may_differ: tuple[str, ...] = ()) -> str:
    """Returns the command-line arguments that would restore the known values of options."""
    names = [n for n in {**known, **given} if known.get(n) != given.get(n) and n not in may_differ]
    words = shlex.join(words_of({name: known.get(name) for name in names}))
    without = [f"without --{n.replace('_', '-')}" for n in names if known.get(n) is None]
    return ", ".join([*[words] * bool(words), *without])


def _chosen_examples(options: dict) -> str:
    """Describes which of the training images a model is trained on."""
    count = options.get("max_examples")
    return f"{count} images, chosen by seed {options.get('seed')}" if count else "all images"


def check_data(data: object, path: Path, needed: tuple[str, ...]) -> None:
    """Raises a `UserError` unless the entries of a section `data` that are used are valid."""
    if not isinstance(data, dict):
        raise UserError(f"{path} is not the configuration of a run.")
    for name, is_valid in _IS_VALID.items():
        if (name in data or name in needed) and not is_valid(data.get(name)):
            raise UserError(f"{path} is damaged. Received: {name}={data.get(name)!r:.80}")


def _are_all(values: object, kind: type) -> bool:
    return isinstance(values, list) and all(type(value) is kind for value in values)


# Entries of the section `data`, or of an export's configuration, that are used after training.
_IS_VALID = {
    "source": lambda value: isinstance(value, str),
    "fingerprint": lambda value: isinstance(value, str),
    "seed": lambda value: type(value) is int and value >= 0,
    "class_names": lambda value: _are_all(value, str),
    "image_shape": lambda value: (
        _are_all(value, int) and len(value) == 3 and all(0 < size < 2**16 for size in value)
    ),
    "num_levels": lambda value: type(value) is int and 2 <= value <= 256,
    "resize": lambda value: value in RESIZES,
    "skip_corrupted": lambda value: isinstance(value, bool),
    "white_level": lambda value: value is None or (type(value) is int and value > 0),
}


def how_to_read(data: dict) -> dict:
    """Returns the arguments of `read_image` in a section `data` or an export's configuration."""
    return {name: data[name] for name in ("resize", "white_level") if name in data}


def read_history(path: str | Path) -> list[dict]:
    """Returns the epochs in a `history.json` in order, as dicts of metrics.

    Each dict has `epoch`, counted from 1, `seconds`, and the logged metrics. A missing or damaged
    file gives an empty list, because it must not stop a training.
    """
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
        return sorted(rows, key=lambda row: row["epoch"])
    except (OSError, ValueError, KeyError, TypeError):
        return []
