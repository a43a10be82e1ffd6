"""The real pictures that generated ones are held against."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_pixelcnnpp.datasets.dataset import Dataset
from keras_pixelcnnpp.datasets.labelled_images import LabelledImages
from keras_pixelcnnpp.errors import UserError


@dataclass(frozen=True, eq=False)
class RealPictures:
    """A split that a model wasn't trained on, and the one it was trained on.

    Args:
        split: The name of the reference split.
        reference: Its pictures; the labelled ones if there are any.
        train: The pictures of the training split.
        class_names: The name of each class.

    Example:

    ```python
    real = RealPictures.of(load_dataset("digits"), "validation")
    ```
    """

    split: str
    reference: LabelledImages
    train: LabelledImages
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, dataset: Dataset, split: str, class_names: Sequence[str] | None = None):
        """Takes the reference split and the training split of a dataset.

        Args:
            dataset: The dataset.
            split: The name of the reference split.
            class_names: Names that the run has for the dataset's classes, if others.

        Raises:
            UserError: If there is no such split, it is empty, or it is the training split, to
                which a model that copies would come closest.
        """
        if split == "train":
            raise UserError(
                "The reference must be pictures that the model wasn't trained on, such as the "
                "split validation. Received: train"
            )
        reference = dataset.split(split)
        if not len(reference):
            raise UserError(f"{dataset.name} has no pictures in the split {split!r}.")
        if (reference.labels >= 0).any():
            reference = reference.labelled()
        names = tuple(dataset.class_names if class_names is None else class_names)
        return cls(split, reference, dataset.split("train"), names)

    @property
    def labelled(self) -> bool:
        """Whether the classes of the reference are known."""
        return bool((self.reference.labels >= 0).any())

    def floor(self, labels: np.ndarray, by_class: bool = True, seed: int = 0) -> LabelledImages:
        """Training pictures, at random, as many of each class as there are in `labels`.

        Args:
            labels: Int `[count]`, the classes of the generated pictures.
            by_class: Whether the classes matter, which those of an unconditional model don't.
            seed: Integer of at least 0.

        Returns:
            The pictures: fewer than asked for where the training split has fewer.
        """
        generator = np.random.default_rng(seed)
        if not by_class:
            return self.train.take(generator.permutation(len(self.train))[: len(labels)])
        rows = [
            generator.permutation(np.flatnonzero(self.train.labels == label))[:count]
            for label, count in zip(*np.unique(labels, return_counts=True), strict=True)
        ]
        return self.train.take(np.concatenate(rows))
