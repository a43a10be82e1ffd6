import json

import keras
import numpy as np
import pytest

from keras_pixelcnnpp.run import read_history
from keras_pixelcnnpp.train.monitors import HistoryFile


class LogMore(keras.callbacks.Callback):
    """Adds to the logs, as `ValidationMonitor` does."""

    def on_epoch_end(self, epoch, logs=None):
        logs["val_accuracy"] = float("nan") if epoch == 1 else epoch / 10


@pytest.fixture
def model():
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def fit(model, path, epochs, initial_epoch=0):
    x = np.arange(12.0).reshape(4, 3) / 12
    return model.fit(
        x,
        x[:, :1],
        epochs=epochs,
        initial_epoch=initial_epoch,
        verbose=0,
        callbacks=[LogMore(), HistoryFile(path)],
    )


def test_file_has_what_keras_has(model, tmp_path):
    path = tmp_path / "logs" / "history.json"
    kept = fit(model, path, epochs=3).history
    rows = json.loads(path.read_text())
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["loss"] for row in rows] == pytest.approx(kept["loss"])
    # NaN is no JSON.
    assert [row["val_accuracy"] for row in rows] == [0.0, None, 0.2]
    assert all(row["seconds"] > 0 for row in rows)


def test_resumed_run_goes_on_with_the_file(model, tmp_path):
    path = tmp_path / "history.json"
    fit(model, path, epochs=3)
    first = read_history(path)
    # Killed after epoch 3 was logged and before its checkpoint was there: epoch 3 comes again.
    fit(model, path, epochs=4, initial_epoch=2)
    rows = read_history(path)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert rows[:2] == first[:2]
    assert rows[2]["loss"] != first[2]["loss"]
    fit(model, path, epochs=1)
    assert [row["epoch"] for row in read_history(path)] == [1]


@pytest.mark.parametrize("content", ["[{", "{}", "[1]", '[{"loss": 1}]', "\xff"])
def test_damaged_file_counts_as_none(model, tmp_path, content):
    path = tmp_path / "history.json"
    path.write_text(content, encoding="latin-1")
    assert read_history(path) == []
    fit(model, path, epochs=1)
    assert len(read_history(path)) == 1


def test_no_file(tmp_path):
    assert read_history(tmp_path / "history.json") == []
