"""The folder of a run, what a training leaves in it, and the checks of its `config.json`."""

import copy
import json
import os
import platform
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from keras_pixelcnnpp.data.dataset import Dataset, LabeledImages
from keras_pixelcnnpp.data.images import RESIZES
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.files import (
    read_json,
    remove_leftovers,
    safe_names,
    write_bytes,
    write_json,
)
from keras_pixelcnnpp.presets import preset_names

# What trains the model of a section.
COMMANDS = {"pixelcnnpp": "train", "baseline": "train-baseline"}


class RunFolder:
    """The places and the configuration of one run, `runs/NAME/`.

    ```
    config.json  model.keras  baseline.keras  checkpoints/  logs/
    samples/  reports/  savedmodel/1/
    ```

    `config.json` has a section per model that is trained here (`pixelcnnpp`, `baseline`) and the
    section `data`, which they share: both must have seen the same images, or a comparison of the
    two would mean nothing.

    Args:
        path: The folder. It need not exist yet.

    Attributes:
        config_json: Every option, version and seed, and the fingerprint of the data.
        other_data: What the reports are of, as for `load_dataset`; `None`: the run's own data.
        samples: Generated images.
        reports: What the `evaluate` commands write; on other data, in a folder for each.
        savedmodel: The exported SavedModel, one numbered folder per version.
        model_keras: The trained PixelCNN++.
        baseline_keras: The trained baseline CNN.

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
        """The trained model of `section`, `"pixelcnnpp"` or `"baseline"`."""
        return self.path / self.MODEL_FILES[section]

    def checkpoints(self, section: str) -> Path:
        """The checkpoints of `section`."""
        return self.path / "checkpoints" / section

    def logs(self, section: str) -> Path:
        """The TensorBoard logs of `section`."""
        return self.path / "logs" / section

    def history_json(self, section: str) -> Path:
        """What was measured in every epoch of the training of `section`."""
        return self.logs(section) / "history.json"

    def history(self, section: str) -> list[dict]:
        """The epochs of the training of `section`: see `read_history`."""
        return read_history(self.history_json(section))

    def has_checkpoint(self, section: str) -> bool:
        """Whether there is a training of `section` to resume."""
        return any(self.checkpoints(section).glob("epoch-*.npz"))

    def exists(self) -> bool:
        """Whether `config.json` is that of a run. A preset has one of that name too."""
        return self.config_json.is_file() and "data" in read_json(self.config_json)

    def read_config(self) -> dict:
        """The content of `config.json`.

        Raises:
            UserError: if there is none, or it is damaged; the message names the entry.
        """
        if not self.config_json.is_file():
            if not self.path.exists() and str(self.path) in preset_names():
                raise UserError(f"{self.path} is the name of a preset: give it as --preset")
            raise UserError(
                f"No run in {self.path}: it has no config.json. Train one first: "
                f"pixelcnnpp train --data … --run {shlex.quote(str(self.path))}"
            )
        config = read_json(self.config_json)
        for name in self.MODEL_FILES:
            section = config.get(name, {"options": {}})
            if not (isinstance(section, dict) and isinstance(section.get("options"), dict)):
                raise UserError(f"{self.config_json} is damaged: {name!r} lacks its options")
        needed = ("source", "fingerprint", "seed", "class_names", "image_shape")
        check_data(config.get("data"), self.config_json, needed)
        return config

    def load_data(self, source: str | None = None, classes_in_order: bool = False) -> Dataset:
        """Loads the data of the run, or other data in the form that its models take.

        Other data keep the splits that they have; the notes on them are printed.

        Args:
            source: Other data than the run was trained on, as for `load_dataset`; `None` for the
                same.
            classes_in_order: As in `Dataset.with_classes`.

        Raises:
            UserError: if the run's own images have changed, or the classes of other data don't fit
                its models.
        """
        known = self.read_config()["data"]
        # Named by its path, the run's own data has the splits that it was trained with.
        is_own = source in (None, known["source"]) or str(Path(source).resolve()) == known["source"]
        dataset = self.load_images(source or known["source"], make_splits=is_own)
        if source is not None:
            print("\n".join(dataset.notes), end="\n" * bool(dataset.notes))
        elif dataset.fingerprint() != known["fingerprint"]:
            raise UserError(
                f"{known['source']} has changed since the run was trained on it, so images of its "
                "training may be in other splits now. Restore it, or name data with --data."
            )
        if len(known["class_names"]) < 2:
            return dataset  # the model knows no classes
        return dataset.with_classes(known["class_names"], classes_in_order)

    def training_images(self, dataset: Dataset) -> LabeledImages:
        """Returns the images that the run was trained on, for an evaluation of `dataset`.

        Args:
            dataset: What `load_data` gave, perhaps other data. If the run's own aren't there, its
                split `train` stands for theirs, and a line says so.
        """
        known = self.read_config()["data"]
        if dataset.fingerprint() != known["fingerprint"]:
            try:
                dataset = self.load_data(classes_in_order=True)
            except (UserError, OSError):
                print(
                    f"Note: {known['source']}, which the run was trained on, is not there as it "
                    f"was: where training images are asked for, those of {dataset.name} stand for "
                    "them."
                )
        trained = self.read_config().get("pixelcnnpp", {"options": {}})["options"]
        unlabeled = trained.get("conditioning") == "none" or trained.get("unlabeled_weight")
        return dataset.images(
            "train",
            with_labels=dataset.num_classes > 0 and not unlabeled,
            max_examples=trained.get("max_examples"),
            seed=trained.get("seed", known["seed"]),
        )

    def load_images(self, source: str, make_splits: bool = False) -> Dataset:
        """Loads images of any classes in the form that the run's models take.

        Args:
            source: As for `load_dataset`.
            make_splits: As for `load_dataset`.
        """
        known = self.read_config()["data"]
        height, width, channels = known["image_shape"]
        return load_dataset(
            source,
            image_size=(height, width),
            channels=channels if channels in (1, 3) else None,
            seed=known["seed"],
            resize=known.get("resize", "center_crop"),
            skip_corrupted=known.get("skip_corrupted", False),
            white_level=known.get("white_level"),
            make_splits=make_splits,
        )

    def measured_on(self, source: str) -> "RunFolder":
        """This run with the reports and samples of an evaluation on other data: a folder for each.

        Args:
            source: As for `load_dataset`.
        """
        path = Path(source).resolve()
        (name,) = safe_names([(path.name if path.is_dir() else path.stem) or "data"])
        other = copy.copy(self)
        other.other_data = source
        other.reports = self.reports / name
        other.samples = other.reports / "samples"
        return other

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Within, no other process may train into the folder; `UserError` if one does."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock, holder = FileLock(self.path / ".lock"), self.path / ".lock.txt"
        try:
            lock.acquire(timeout=0)
        except Timeout:
            by = holder.read_text(encoding="utf-8") if holder.is_file() else "another process"
            raise UserError(f"{self.path} is being trained into by {by}") from None
        try:
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            text = f"process {os.getpid()} on {platform.node()}, since {since}"
            write_bytes(holder, text.encode())
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()

    def require_model(self, section: str) -> Path:
        """The trained model of `section`.

        Raises:
            UserError: if it is not there; the message says how to train it, or to go on.
        """
        path = self.model(section)
        if path.is_file():
            return path
        self.read_config()
        if self.has_checkpoint(section):
            raise UserError(
                f"The training of {section} in {self.path} has not finished. Give the command that "
                "began it again, with --resume."
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
            config: That section. Its entry `options` is what two runs are compared by.
            data: The section `data`. Its `fingerprint` is what two data sets are compared by.
            resume: Go on from the last checkpoint, with the same options; from the beginning,
                if the run was killed before its first one. For more epochs, the model so far and
                its results are removed as with `overwrite`.
            overwrite: Start over although the folder holds a run of this section. Its reports,
                samples and export are removed: they are not those of the model to come.
            may_change: Options that may differ when a run is resumed, such as `epochs`.

        Raises:
            UserError: if the folder holds another configuration (the options that differ are
                named), a model of other images, or a run that was not to be touched; or has
                nothing to resume.
        """
        # As JSON will give them back, so that a tuple equals the list that was written for it.
        config, data = json.loads(json.dumps([config, data]))
        for folder in (self.path, self.checkpoints(section), self.logs(section)):
            remove_leftovers(folder)
        known = self.read_config() if self.config_json.exists() else {}
        has_checkpoint = self.has_checkpoint(section)
        has_model = self.model(section).exists()
        kept = {name: known[name] for name in self.MODEL_FILES if name in known}
        # A run that broke off before its first checkpoint left nothing worth protecting, but it
        # can be resumed. The other model may be in its first epoch now.
        if not (resume or has_checkpoint or has_model):
            kept.pop(section, None)
        if resume and (section not in kept or (has_model and not has_checkpoint)):
            raise UserError(
                f"Nothing to resume in {self.path}: it has no checkpoint of {section}. "
                "Leave out --resume to start a run."
            )
        if (has_model or has_checkpoint) and section not in known and not overwrite:
            raise UserError(
                f"{self.path} holds a {section} that {self.config_json.name} says nothing of. "
                "Choose another folder, or --overwrite to replace it."
            )
        starts_over = overwrite and not resume and kept.pop(section, None) is not None
        if kept and known["data"]["fingerprint"] != data["fingerprint"]:
            found = _differing(data_options(known["data"]), data_options(data))
            advice = f"Give the same: {found}" if found else "They have changed since: restore them"
            raise UserError(
                f"{self.path} was trained on other images. {advice}; or choose another folder."
            )
        given = _chosen_examples(config["options"])
        for other in kept.keys() - {section}:
            if (begun := _chosen_examples(kept[other]["options"])) != given:
                raise UserError(
                    f"The {other} in {self.path} was trained on {begun}. Give the same "
                    f"--max-examples and --seed, or choose another folder. Received: {given}"
                )
        if section in kept:
            if not resume:
                raise UserError(
                    f"{self.path} holds a run of {section} already. Add --resume to go on with "
                    "it, --overwrite to start over, or choose another folder."
                )
            if found := _differing(kept[section]["options"], config["options"], may_change):
                raise UserError(
                    f"{self.path} was trained with other options. To resume it, give the same: "
                    f"{found}. Or start over with --overwrite, or choose another folder."
                )
        epochs = [given["options"].get("epochs") for given in (known.get(section, config), config)]
        if resume and has_model and epochs[0] == epochs[1]:
            raise UserError(
                f"The training of {section} in {self.path} has finished. Give more --epochs to go "
                "on with it, or --overwrite to start over."
            )
        if not (resume and has_checkpoint):
            # What stays would be taken for a checkpoint of the new run: errors are not passed over.
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


def data_options(data: dict) -> dict:
    """The options of a training command that give the images of a run, by its section `data`."""
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
    """The words of a command for `data_options`."""
    return words_of(data_options(data))


def words_of(options: dict) -> list[str]:
    """The words of a command for options by name: `--filters 24,48`; `None` is left out."""
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
    """The options of a command, with the known values, that were given other values."""
    names = [n for n in {**known, **given} if known.get(n) != given.get(n) and n not in may_differ]
    words = shlex.join(words_of({name: known.get(name) for name in names}))
    without = [f"without --{n.replace('_', '-')}" for n in names if known.get(n) is None]
    return ", ".join([*[words] * bool(words), *without])


def _chosen_examples(options: dict) -> str:
    """In words, which of the training images a model is trained on."""
    count = options.get("max_examples")
    return f"{count} images, chosen by seed {options.get('seed')}" if count else "all images"


def check_data(data: object, path: Path, needed: tuple[str, ...]) -> None:
    """Raises a `UserError` unless what is read again of a section `data` is what it should be."""
    if not isinstance(data, dict):
        raise UserError(f"{path} is not the configuration of a run.")
    for name, is_valid in _IS_VALID.items():
        if (name in data or name in needed) and not is_valid(data.get(name)):
            raise UserError(f"{path} is damaged. Received: {name}={data.get(name)!r:.80}")


def _are_all(values: object, kind: type) -> bool:
    return isinstance(values, list) and all(type(value) is kind for value in values)


# The entries of the section `data`, or of an export's configuration, that are read again.
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
    """The arguments of `read_image` in a section `data`, or in an export's configuration."""
    return {name: data[name] for name in ("resize", "white_level") if name in data}


def read_history(path: str | Path) -> list[dict]:
    """The epochs in a `history.json`, in order; none if there is no such file.

    Of each `epoch`, counted from 1, `seconds`, and what was logged. A file that holds something
    else counts as none too: losing a curve must not stop a training.
    """
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
        return sorted(rows, key=lambda row: row["epoch"])
    except (OSError, ValueError, KeyError, TypeError):
        return []
