"""Labeled images, and data sets of labeled images in splits."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np

from keras_pixelcnnpp.conditions import KINDS, Conditions, Labels, conditions_of
from keras_pixelcnnpp.conditions.values import joined_values, taken
from keras_pixelcnnpp.data.identity import (
    ListedImage,
    Listing,
)
from keras_pixelcnnpp.utils.errors import UserError
from keras_pixelcnnpp.utils.files import class_numbers, counted
from keras_pixelcnnpp.utils.hashes import array_hashes

VALIDATION_SHARE = 0.1
MAX_CLASSES = 100_000

# Common names of the splits, and the names used here.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}


def named_splits(names: Iterable[str]) -> dict[str, str]:
    """Returns a dict from splits to their names among `names`, which are keys of `SPLIT_NAMES`."""
    splits = {}
    for name in names:
        if (other := splits.setdefault(SPLIT_NAMES[name.lower()], name)) != name:
            raise UserError(f"There are two names for one split, {other} and {name}.")
    return splits


def some_rows(total: int, count: int | None, seed: int = 0) -> np.ndarray | slice:
    """Returns at most `count` random rows of `total` in their original order; all for `None`."""
    if count is None or count >= total:
        return slice(None)
    return np.sort(np.random.default_rng(seed).permutation(total)[:count])


@dataclass(frozen=True, eq=False)
class LabeledImages:
    """Images with labels and paths.

    Args:
        images: uint8 array `(N, height, width, channels)`, 0 to 255, or uint16 array.
        labels: int32 array `(N,)`, -1 for unlabeled images.
        paths: Tuple of N strings: the path in the CSV file, the path relative to the folder of the
            data, or for arrays a name such as `"digits/000123"`.
        hashes: Tuple of N strings, the beginning of the SHA-256 of each image file, or by default
            of the values of each image.
        larger: Optional array with the same images at a larger size, to train on crops of them.
        given: Dict of arrays, what else is known of each image, by the name of a part of a model's
            conditions: `{"vector": vectors}`, float `(N, size)`, for a model of `Vectors`, or
            `{"map": maps}`, `(N, height, width, channels)`, for one of `Maps`.

    Example:

    ```python
    split = load_dataset("digits").split("test")
    len(split), split.images.shape      # 599, (599, 8, 8, 1)
    ```
    """

    images: np.ndarray
    labels: np.ndarray
    paths: tuple[str, ...]
    hashes: tuple[str, ...] = ()
    larger: np.ndarray | None = None
    given: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: np.ndarray | slice) -> "LabeledImages":
        """Returns the images at `rows`, which are integers, a slice or a boolean mask `(N,)`."""
        rows = np.arange(len(self))[rows]
        return replace(
            self,
            images=self.images[rows],
            labels=self.labels[rows],
            paths=tuple(self.paths[row] for row in rows),
            hashes=tuple(self.hashes[row] for row in rows) if self.hashes else (),
            larger=None if self.larger is None else self.larger[rows],
            given=taken(self.given, rows),
        )

    def with_hashes(self) -> "LabeledImages":
        """Returns the same images with their hashes."""
        if self.hashes or not len(self):
            return self
        return replace(self, hashes=array_hashes(self.images))

    def labeled(self) -> "LabeledImages":
        """Returns the labeled images."""
        return self.take(self.labels >= 0)

    def some(self, count: int | None, seed: int = 0) -> "LabeledImages":
        """Returns at most `count` random images in their original order; all for `None`.

        The choice is random because images are often sorted by class.
        """
        if count is None or count >= len(self):
            return self
        return self.take(some_rows(len(self), count, seed))

    def hold_out(self, share: float, seed: int) -> tuple["LabeledImages", "LabeledImages"]:
        """Holds out a fraction of the labeled images, stratified by class.

        Unlabeled images are not held out, unless all images are unlabeled.

        Returns:
            The remaining and the held-out images, both in their original order.

        Raises:
            UserError: If a class has only one image, or there would be fewer held-out images than
                classes.
        """
        from sklearn.model_selection import train_test_split

        rows = np.flatnonzero(self.labels >= 0)
        if len(rows) == 0:
            rows = np.arange(len(self))
        try:
            _, held_out = train_test_split(
                rows, test_size=share, stratify=self.labels[rows], random_state=seed
            )
        except ValueError as error:
            raise UserError(
                f"{len(rows)} images are too few to hold out {share:.0%} of each class: {error}"
            ) from error
        mask = np.isin(np.arange(len(self)), held_out)
        return self.take(~mask), self.take(mask)


def conditions_in(
    images: LabeledImages,
    class_names: Sequence[str] = (),
    vector_names: Sequence[str] = (),
    num_codes: int | None = None,
) -> Conditions:
    """Returns the conditions of which images have values, without bounds."""
    kinds = {kind.name: kind for kind in KINDS.values()}
    parts = [
        kinds[name].of_data(values, vector_names, num_codes)
        for name, values in images.given.items()
    ]
    if len(class_names) > 1 or (class_names and not parts):  # one class tells nothing more
        parts.insert(0, Labels(len(class_names), class_names))
    return conditions_of(conditions=parts)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set of labeled images in splits, with class names.

    Args:
        name: Name of the data in reports.
        class_names: Tuple with a name for each class; empty for unlabeled data.
        splits: Dict from the names of the splits to their images: `"train"`, `"validation"`, and
            if available `"test"`; or only `"all"`.
        notes: Tuple of messages for the user, such as how a missing split was created.
        vector_names: Tuple with a name for each component of the images' vectors, if they have any.
        num_codes: Integer, number of codes, if the values are codes without an order.

    Example:

    ```python
    dataset = load_dataset("digits")
    dataset.image_shape, dataset.num_classes    # (8, 8, 1), 10
    dataset.split("train").images               # uint8 (1078, 8, 8, 1)
    ```
    """

    name: str
    class_names: tuple[str, ...]
    splits: dict[str, LabeledImages]
    notes: tuple[str, ...] = ()
    vector_names: tuple[str, ...] = ()
    num_codes: int | None = None

    @property
    def conditions(self) -> Conditions:
        """The conditions of which the images have values, without bounds of vectors and maps."""
        first = next(iter(self.splits.values()))
        return conditions_in(first, self.class_names, self.vector_names, self.num_codes)

    @property
    def num_classes(self) -> int:
        """Number of classes, 0 for unlabeled data."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape `(height, width, channels)` of the images."""
        height, width, channels = next(iter(self.splits.values())).images.shape[1:]
        return height, width, channels

    def split(self, name: str) -> LabeledImages:
        """Returns the images of one split.

        Raises:
            UserError: If the split does not exist. The message names the existing ones.
        """
        if name not in self.splits:
            raise UserError(
                f"{self.name} has no split {name!r}. It has: {', '.join(sorted(self.splits))}"
            )
        return self.splits[name]

    def split_to_measure(self, name: str | None = None) -> str:
        """Returns `name`, or by default the first existing of validation, test, all and train."""
        return name or next(n for n in ("validation", "test", "all", "train") if n in self.splits)

    def images(
        self, split: str, *, with_labels: bool, max_examples: int | None = None, seed: int = 0
    ) -> LabeledImages:
        """Returns the images of a split, or `some`; `with_labels` then omits unlabeled ones.

        Raises:
            UserError: If the split does not exist, or no image is left.
        """
        chosen = self.split(split).some(max_examples, seed)
        if with_labels:
            chosen = chosen.labeled()
        if not len(chosen):
            raise UserError(f"The split {split} has no {'labeled ' * with_labels}image.")
        return chosen

    def with_classes(self, class_names: Sequence[str], in_order: bool = False) -> "Dataset":
        """Returns the same images with the labels of a model with the classes `class_names`.

        Args:
            class_names: Names of the model's classes.
            in_order: Boolean, whether to match classes by their order instead of their names, in
                which special characters may be replaced by `_`, as in folder names.

        Raises:
            UserError: If the model does not have all of the classes.
        """
        names = class_names[: self.num_classes] if in_order else self.class_names
        numbers = class_numbers(class_names)
        if len(names) < self.num_classes or not {*names} <= numbers.keys():
            raise UserError(
                f"{self.name} has classes that the model was not trained on. Expected: "
                f"{', '.join(class_names)}. Received: {', '.join(self.class_names)}. "
                "--classes-in-order matches classes by their order, alphabetical for folders"
            )
        labels = np.array([*(numbers[name] for name in names), -1], dtype="int32")
        splits = {
            name: replace(split, labels=labels[split.labels]) for name, split in self.splits.items()
        }
        return replace(self, class_names=tuple(class_names), splits=splits)

    def counts(self) -> dict[str, list[int]]:
        """Returns the number of images of each class, and of unlabeled images, for each split."""
        counts = {}
        for name, split in self.splits.items():
            found = np.bincount(split.labels + 1, minlength=self.num_classes + 1).tolist()
            counts[name] = [*found[1:], found[0]]
        return counts

    def listing(self) -> Listing:
        """Returns what identifies each image."""
        names = [*self.class_names, ""]  # the last one is for unlabeled images
        conditions = self.conditions
        return [
            ListedImage(split, path, names[label], digest, pixels, text)
            for split, images in self.splits.items()
            for path, label, digest, pixels, text in zip(
                images.paths,
                images.labels.tolist(),
                images.with_hashes().hashes,
                array_hashes(images.images),
                conditions.texts(images),
                strict=True,
            )
        ]

    def split_as(self, listing: Listing) -> "Dataset | None":
        """Returns the same images in the splits of a listing, or `None` if it has other images.

        Images are recognized by their hashes and conditions, not by their paths.
        """
        own = self.listing()
        if own == listing:
            return self
        rows = defaultdict(list)
        for row, image in enumerate(own):
            rows[image.class_name, image.condition, image.sha256].append(row)
        chosen = defaultdict(list)
        for image in listing:
            same = rows[image.class_name, image.condition, image.sha256]
            if not same:
                return None
            chosen[image.split].append(same.pop(0))
        if any(rows.values()):
            return None
        splits = [images.with_hashes() for images in self.splits.values() if len(images)]

        everything = LabeledImages(
            np.concatenate([split.images for split in splits]),
            np.concatenate([split.labels for split in splits]),
            tuple(chain(*(split.paths for split in splits))),
            tuple(chain(*(split.hashes for split in splits))),
            given=joined_values([split.given for split in splits]),
        )
        return replace(self, splits={n: everything.take(np.array(r)) for n, r in chosen.items()})

    def fingerprint(self) -> str:
        """Returns a SHA-256 hex digest of images, labels, splits and class names.

        Data sets with the same digest have the same images in the same order.
        """
        digest = hashlib.sha256(repr(self.class_names).encode())
        for name, split in sorted(self.splits.items()):
            digest.update(repr((name, split.images.shape)).encode())
            digest.update(split.images.tobytes())
            digest.update(split.labels.astype("<i4").tobytes())
            for values in split.given.values():
                digest.update(values.astype("<f8").tobytes())
        return digest.hexdigest()


def with_missing_splits(
    splits: dict[str, LabeledImages], seed: int
) -> tuple[dict[str, LabeledImages], tuple[str, ...]]:
    """Creates missing splits as `load_dataset` does; also returns messages for the user.

    Raises:
        UserError: If there are no training images, or too few.
    """
    if "all" in splits:
        return _split_in_three(splits["all"], seed)
    if "train" not in splits:
        raise UserError(f"Expected a split train. Received: {' and '.join(splits)}")
    if "validation" in splits:
        return splits, ()
    train, validation = splits["train"].hold_out(VALIDATION_SHARE, seed)
    note = (
        f"No validation split: {len(validation)} training images "
        f"({VALIDATION_SHARE:.0%} of each class, seed {seed}) were set aside for it."
    )
    return splits | {"train": train, "validation": validation}, (note,)


def _split_in_three(
    images: LabeledImages, seed: int
) -> tuple[dict[str, LabeledImages], tuple[str, ...]]:
    rest, held_out = images.hold_out(0.2, seed)
    validation, test = held_out.hold_out(0.5, seed)
    note = (
        f"No splits: every class was split 80/10/10 into train, validation and test (seed {seed})."
    )
    return {"train": rest, "validation": validation, "test": test}, (note,)


def count_classes(labels: dict[str, np.ndarray], place: Callable[[str, int], str]) -> int:
    """Returns the number n of classes: training images have the labels 0 to n - 1 without a gap.

    Without training images, n is the largest label plus 1. If a label is not from -1 to n - 1, a
    `UserError` names its place, `place(split, row)`.
    """
    trained = labels.get("train", labels.get("all"))
    if trained is None:
        largest = max(values.max(initial=-1) for values in labels.values())
        trained = range(min(largest + 1, MAX_CLASSES))
    count, classes = 0, {*map(int, trained)}
    while count in classes:
        count += 1
    for split, values in labels.items():
        wrong = np.flatnonzero((values < -1) | (values >= count))
        if len(wrong):
            row = int(wrong[0])
            found = [*map(str, sorted(classes - {-1}))] or ["none"]
            has = f"have the labels {', '.join(found[:5])}{', …' * (len(found) > 5)}"
            raise UserError(
                f"{place(split, row)}: label {values[row]} is out of range: expected -1 "
                f"(unlabeled) or integers from 0 without a gap. The training images {has}."
            )
    return count


def class_notes(dataset: Dataset) -> list[str]:
    """Returns messages on unlabeled images, and on classes that may not be meant."""
    notes, counts = [], dataset.counts()
    folded = [name.casefold() for name in dataset.class_names]
    if same := [n for n in dataset.class_names if folded.count(n.casefold()) > 1]:
        notes.append(f"Classes whose names differ in case only: {', '.join(same)}.")
    unlabeled = [f"{found[-1]:,} {split}" for split, found in counts.items() if found[-1]]
    if dataset.num_classes and unlabeled:
        notes.append(f"Unlabeled images: {', '.join(unlabeled)}.")
    for split, (*labeled, _) in counts.items():
        missing = [n for n, count in zip(dataset.class_names, labeled, strict=True) if not count]
        if missing and any(labeled):
            notes.append(f"The split {split} has no image of: {', '.join(missing)}.")
    return notes


def duplicates_notes(dataset: Dataset) -> list[str]:
    """Returns messages on equal images in several splits, and on those with several labels."""
    found = defaultdict(list)
    for name, split in dataset.splits.items():
        hashes = array_hashes(split.images)
        for digest, label, path in zip(hashes, split.labels.tolist(), split.paths, strict=True):
            found[digest].append((name, label, path))
    several = [rows for rows in found.values() if len(rows) > 1]
    in_splits = [rows for rows in several if len({name for name, *_ in rows}) > 1]
    contradictory = [rows for rows in several if len({label for _, label, _ in rows} - {-1}) > 1]
    notes = []
    if in_splits:
        equal = [" = ".join(path for *_, path in rows) for rows in in_splits]
        notes.append(
            f"Exact duplicates: {counted(len(in_splits))} in more than one split: "
            f"{first_ten(equal)}."
        )
    if contradictory:
        names = [*dataset.class_names, "unlabeled"]
        equal = [
            " = ".join(f"{path} ({names[label]})" for _, label, path in rows)
            for rows in contradictory
        ]
        notes.append(
            f"Contradictory labels: {counted(len(contradictory))} in more than one class: "
            f"{first_ten(equal)}."
        )
    return notes


def first_ten(names: Sequence[str], separator: str = ", ") -> str:
    """Returns the first ten names, and how many more there are."""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return separator.join(names[:10]) + more
