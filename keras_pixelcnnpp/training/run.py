"""The folder of a run: its files, its configuration `config.json` and their checks."""

import csv
import os
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from keras_pixelcnnpp.data.dataset import (
    Dataset,
    LabeledImages,
    conditions_in,
    some_rows,
    with_missing_splits,
)
from keras_pixelcnnpp.data.identity import (
    ListedImage,
    Listing,
    are_among,
    changes_text,
    trained_on_text,
)
from keras_pixelcnnpp.data.images import RESIZES
from keras_pixelcnnpp.data.load import load_dataset, source_of
from keras_pixelcnnpp.recipes.existing import existing_run
from keras_pixelcnnpp.recipes.recipe import COMMANDS, recipe_of_run, require_format
from keras_pixelcnnpp.training.checkpoints import Checkpoints
from keras_pixelcnnpp.utils.checks import MAX_LEVELS
from keras_pixelcnnpp.utils.errors import UserError, say
from keras_pixelcnnpp.utils.files import read_cells, read_json, write_csv

_COLUMNS = ("split", "path", "class", "sha256", "pixels", "condition")  # of `split.csv`


class TrainedImages:
    """The images that a model was trained on, and other images in the form that it expects."""

    def read_config(self) -> dict:
        """Returns the content of a `config.json`: its section `data`, and those of models."""
        raise NotImplementedError

    def listing(self) -> Listing:
        """Returns the split, path, class and hash of each image; empty if they are not known."""
        return []

    def load_data(self, source: str | None = None, classes_in_order: bool = False) -> Dataset:
        """Loads the data of the run, or other data in the form that its models expect.

        The data of the run are recognized by the hashes of their files, wherever they are, and
        split as in training. Other data are not split randomly, and notes on them are printed.
        `classes_in_order` matches their classes with those of the run by order, not by name.

        Raises:
            UserError: If the run's own images have changed, or the classes of other data don't fit.
        """
        config = self.read_config()
        known = config["data"]
        given = self.load_images(source or known["source"])
        dataset = self._split_as_in_training(given)
        if dataset is None and (source is None or source_of(source).location == known["source"]):
            listing = self.listing()
            changes = changes_text(listing, given.listing()) if listing else ""
            raise UserError(
                f"{known['source']} has changed since the run was trained on it{changes}. Restore "
                "it, or choose other data with --data."
            )
        notes = [] if source is None else [*given.notes]
        is_own = dataset is not None
        dataset = dataset or given
        if len(known["class_names"]) > 1 and not self._is_unconditional(config):
            in_order = classes_in_order and not is_own
            pairs = zip(dataset.class_names, known["class_names"], strict=False)
            if in_order:
                notes.append(f"Classes by order: {', '.join(f'{a} as {b}' for a, b in pairs)}.")
            dataset = dataset.with_classes(known["class_names"], in_order)
        if is_own and dataset.fingerprint() != known["fingerprint"]:
            notes.append(
                "Warning: these are the files of the training, but their pixels differ, perhaps "
                "because another version of Pillow decodes them."
            )
        for name, images in {} if is_own else dataset.splits.items():
            trained = self.trained_on(images, dataset)
            if trained is not None and trained.any():
                notes.append(f"{trained_on_text(trained)} (split {name} of {dataset.name}).")
        for note in notes:
            say(note)
        return replace(dataset, notes=tuple(notes))

    def trained_on(
        self, images: LabeledImages, dataset: Dataset | None = None
    ) -> np.ndarray | None:
        """Returns which images the run was trained on, boolean `(N,)`; `None` if it has no list.

        A run without a list, such as that of a preset, knows its images if they are in `dataset`.
        """
        listing = self.listing()
        if not listing and dataset is not None:
            own = self._split_as_in_training(dataset)
            listing = own.listing() if own else []
        if not listing:
            return None
        options = self.read_config().get("pixelcnnpp", {"options": {}})["options"]
        train = [image for image in listing if image.split == "train"]
        rows = some_rows(len(train), options.get("max_examples"), options.get("seed") or 0)
        chosen = [train[row] for row in np.arange(len(train))[rows]]
        texts = conditions_in(images).texts(images)
        return are_among(chosen, images.images, images.hashes, texts)

    def _split_as_in_training(self, dataset: Dataset) -> Dataset | None:
        """Returns the run's data in their splits, or `None` if `dataset` has other images."""
        if listing := self.listing():
            return dataset.split_as(listing)
        known = self.read_config()["data"]
        try:
            splits, _ = with_missing_splits(dataset.splits, known.get("split_seed", 0))
        except UserError:  # too few images
            return None
        split = replace(dataset, splits=splits)
        return split if split.fingerprint() == known["fingerprint"] else None

    @staticmethod
    def _is_unconditional(config: dict) -> bool:
        """Returns whether no model of the run has classes."""
        options = config.get("pixelcnnpp", {"options": {}})["options"]
        return options.get("conditioning") == "none" and "baseline" not in config

    def training_images(self, dataset: Dataset) -> LabeledImages:
        """Returns the images that the run was trained on, for an evaluation of `dataset`.

        If the run's own data are not available, a note is printed, and the split `train` of
        `dataset` is used. Without this split, the result has no images.
        """
        config = self.read_config()
        if self._split_as_in_training(dataset) is None:
            try:
                dataset = self.load_data(classes_in_order=True)
            except (UserError, OSError):
                others = f"The training images of {dataset.name} are used instead."
                none = "Comparisons with training images are omitted."
                say(
                    f"Note: {config['data']['source']}, which the model was trained on, is missing "
                    f"or has changed. {others if 'train' in dataset.splits else none}"
                )
        trained = config.get("pixelcnnpp", {"options": {}})["options"]
        unlabeled = trained.get("conditioning") == "none" or trained.get("unlabeled_weight")
        any_split = dataset.split(dataset.split_to_measure())
        train = dataset.splits.get("train", any_split.take(slice(0)))
        train = train.some(trained.get("max_examples"), trained.get("seed") or 0)
        return train.labeled() if dataset.num_classes and not unlabeled else train

    def load_images(self, source: str) -> Dataset:
        """Loads images of any classes in the form that the models expect, not split randomly."""
        config = self.read_config()
        how = recipe_of_run(config, "pixelcnnpp").loading()
        # Of other data, files that cannot be read are skipped with a note.
        how["skip_corrupted"] |= source_of(source).location != config["data"]["source"]
        how["unlabeled_others"] = self._is_unconditional(config)
        *size, channels = config["data"]["image_shape"]
        channels = channels if channels in (1, 3) else None
        how |= {"image_size": tuple(size), "channels": channels, "make_splits": False}
        return load_dataset(source, **how)


class RunFolder(TrainedImages):
    """Paths of a training run, `runs/NAME/`, its lock and its data.

    ```
    config.json  split.csv  model.keras  baseline.keras  checkpoints/  logs/
    reports/  savedmodel/1/
    ```

    `config.json` has a section for each trained model (`pixelcnnpp`, `baseline`), and a common
    section `data`, because the models can be compared only if they are trained on the same images.

    Args:
        path: The folder, which may not exist yet.

    Attributes:
        config_json: Path of the configuration: options, versions, seeds, fingerprint of the data.
        split_csv: Path of the list of the images, which are `ListedImage`.
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
        self.config_json = self.path / "config.json"
        self.split_csv = self.path / "split.csv"
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
        return bool(Checkpoints(self.checkpoints(section)).saved())

    def exists(self) -> bool:
        """Returns whether the folder contains a run, not a preset (which also has a config)."""
        return self.config_json.is_file() and "data" in read_json(self.config_json)

    def read_config(self) -> dict:
        """Returns the content of `config.json`.

        Raises:
            UserError: If it is missing or damaged. The message names the entry.
        """
        existing_run(self.path)
        config = read_json(self.config_json)
        for name in self.MODEL_FILES:
            section = config.get(name, {"options": {}})
            if not (isinstance(section, dict) and isinstance(section.get("options"), dict)):
                raise UserError(f"{self.config_json} is damaged: {name!r} has no options")
            require_format(section, self.config_json)
        needed = ("source", "fingerprint", "class_names", "image_shape")
        check_data(config.get("data"), self.config_json, needed)
        for name in self.MODEL_FILES:
            try:
                recipe_of_run(config, name)
            except UserError as error:
                raise UserError(f"{self.config_json} is damaged: {error}") from error
        return config

    def listing(self) -> Listing:
        """Returns the content of `split_csv`; empty without this file."""
        if not self.split_csv.is_file():
            return []
        with self.split_csv.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            try:
                rows = [*read_cells(file)]
            except csv.Error as error:
                raise UserError(f"{self.split_csv} is damaged: {error}") from error
        for number, row in enumerate(rows, start=1):
            if len(row) != len(_COLUMNS):
                raise UserError(
                    f"{self.split_csv} is damaged: row {number}. Expected the columns "
                    f"{', '.join(_COLUMNS)}. Received: {list(row)!r:.80}"
                )
        return [ListedImage(*row) for row in rows[1:]]

    def write_listing(self, listing: Listing) -> None:
        """Writes `split_csv`."""
        write_csv(self.split_csv, [_COLUMNS, *listing])

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Context manager that locks the folder, or raises a `UserError`.

        All commands that write to a run lock it: training replaces what the others read. A link in
        the folder that leads out of it is an error, because the commands would write there.
        """
        self._require_no_links()
        lock = FileLock(self.path / ".lock")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"{self.path} is in use by another process. Try again later") from None
        except OSError as error:
            raise UserError(f"Cannot write to the run {self.path}: {error.strerror}") from error
        try:
            yield
        finally:
            lock.release()

    def _require_no_links(self) -> None:
        root = self.path.resolve()
        for folder, names, _ in os.walk(root):
            for path in (Path(folder, name) for name in names):
                if not path.resolve().is_relative_to(root):
                    raise UserError(
                        f"{path} is a link that leads out of the run, to {path.resolve()}. "
                        "Commands write only to the folder of a run. Replace the link by a folder"
                    )

    def require_model(self, section: str) -> Path:
        """Returns the path of the trained model of `section`.

        Raises:
            UserError: If there is no trained model. The message says how to train or resume it.
        """
        path = self.model(section)
        self.read_config()
        if path.is_file():
            return path
        how = "--resume" if self.has_checkpoint(section) else "--data …"
        raise UserError(
            f"{self.path} has no trained {section}. Train it: pixelcnnpp {COMMANDS[section]} {how} "
            f"--run {shlex.quote(str(self.path))}"
        )


@contextmanager
def locked_around(*paths: Path | None) -> Iterator[None]:
    """Context manager that locks the runs in whose folders paths lie; `None` for no path."""
    places = [path.resolve() for path in paths if path is not None]
    around = [next(filter(_is_run, (path, *path.parents)), None) for path in places]
    with ExitStack() as locks:
        for folder in {*around} - {None}:
            locks.enter_context(RunFolder(folder).locked())
        yield


def _is_run(folder: Path) -> bool:
    try:
        return RunFolder(folder).exists()
    except (OSError, UserError):  # another program's config.json
        return False


def check_data(data: object, path: Path, needed: tuple[str, ...]) -> None:
    """Raises a `UserError` unless the entries of a section `data` that are used are valid."""
    if not isinstance(data, dict):
        raise UserError(f"{path} is not the configuration of a run.")
    for name, is_valid in _IS_VALID.items():
        if (name in data or name in needed) and not is_valid(data.get(name)):
            raise UserError(f"{path} is damaged. Received: {name}={data.get(name)!r:.80}")


def _are_all(values: object, kind: type) -> bool:
    return isinstance(values, list) and all(type(value) is kind for value in values)


def _are_printable(names: Any) -> bool:
    return _are_all(names, str) and all(map(str.isprintable, names))


# Entries of the section `data`, or of an export's configuration, that are used after training.
_IS_VALID = {
    "source": lambda value: isinstance(value, str),
    "fingerprint": lambda value: isinstance(value, str),
    "split_seed": lambda value: type(value) is int and value >= 0,
    "class_names": _are_printable,
    "vector_names": _are_printable,
    "vectors": lambda value: value is None or isinstance(value, str),
    "conditions": lambda value: isinstance(value, dict),
    "image_shape": lambda value: (
        _are_all(value, int) and len(value) == 3 and all(0 < size < 2**16 for size in value)
    ),
    "num_levels": lambda value: type(value) is int and 2 <= value <= MAX_LEVELS,
    "resize": lambda value: value in RESIZES,
    "skip_corrupted": lambda value: isinstance(value, bool),
    "white_level": lambda value: value is None or (type(value) is int and value > 0),
}


def read_history(path: str | Path) -> list[dict]:
    """Returns the epochs in a `history.json` in order, as dicts of metrics.

    Each dict has `epoch`, counted from 1, `seconds`, and the logged metrics, numbers or `None`. A
    missing or damaged file gives an empty list, because it must not stop a training.
    """
    try:
        rows = read_json(path, list)
    except UserError:
        return []
    return rows if all(isinstance(row, dict) and "epoch" in row for row in rows) else []
