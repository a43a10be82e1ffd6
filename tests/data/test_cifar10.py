import keras
import numpy as np
import pytest

from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.errors import UserError


def test_splits(monkeypatch):
    def part(count):
        return np.zeros((count, 32, 32, 3), "uint8"), np.arange(count)[:, None] % 10

    monkeypatch.setattr(keras.datasets.cifar10, "load_data", lambda: (part(200), part(20)))
    dataset = load_dataset("cifar10")
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 180,
        "validation": 20,
        "test": 20,
    }
    assert dataset.class_names[3] == "cat"
    assert dataset.split("test").paths[7] == "cifar10/test/000007"


def test_no_network(monkeypatch):
    def fail():
        raise OSError("no route to host")

    monkeypatch.setattr(keras.datasets.cifar10, "load_data", fail)
    with pytest.raises(UserError, match="CIFAR-10 cannot be downloaded: no route to host"):
        load_dataset("cifar10")
