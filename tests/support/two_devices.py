"""Trains on one and on two devices, in a folder that is the working directory, and compares them.

A program of its own, because the number of devices is fixed when the backend starts.
"""

import keras
import numpy as np

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

import tiny

from keras_pixelcnnpp.recipes.recipe import PixelCNNRecipe
from keras_pixelcnnpp.train.monitors import ValidationMonitor, with_averaged_weights
from keras_pixelcnnpp.train.run_training import on_devices
from keras_pixelcnnpp.training import train as training
from keras_pixelcnnpp.utils.backend import variable_value

split = tiny.tiny_split(21)  # the last batch has 5 images
logged = {}


def train(folder, epochs, count, callbacks=()):
    keras.utils.set_random_seed(0)
    with on_devices(count) as devices:
        # Dropout off: each device has its own masks.
        model = tiny.untrained_pixelcnn(dropout_rate=0.0, label_loss_weight=0.5)
        recipe = PixelCNNRecipe(epochs=epochs, batch_size=8, learning_rate=0.01, ema_momentum=0.8)
        keep = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: logged.update({(folder, epoch): dict(logs)})
        )
        monitored = with_averaged_weights([ValidationMonitor(split), keep])
        callbacks = [*monitored, *callbacks]
        how = {"callbacks": callbacks, "devices": devices, "verbose": 0}
        training.train(model, split, recipe.with_defaults(), folder, **how)
        samples = model.sample([0, 1, 2], seed=1, verbose=0)
        # Keras itself needs batches that can be divided.
        images, labels = split.images[:20], split.labels[:20]
        scores = model.evaluate(images, labels, batch_size=10, verbose=0)
        probabilities = model.predict(images, batch_size=10, verbose=0)
    model.save(f"{folder}.keras")
    loaded = keras.models.load_model(f"{folder}.keras")
    np.testing.assert_array_equal(loaded.sample([0, 1, 2], seed=1, verbose=0), samples)
    return model, samples, [*scores, *probabilities.ravel()]


expected, samples, scores = train("one", 2, 1)
train("two", 1, 2)
received, samples_of_two, scores_of_two = train("two", 2, 2)
for got, want in zip(
    [*received.variables, *received.optimizer.variables],
    [*expected.variables, *expected.optimizer.variables],
    strict=True,
):
    np.testing.assert_allclose(variable_value(got), variable_value(want), rtol=0, atol=1e-5)
for name, value in logged["one", 1].items():
    if name.startswith("val_"):
        np.testing.assert_allclose(logged["two", 1][name], value, rtol=1e-4)
np.testing.assert_array_equal(samples_of_two, samples)
np.testing.assert_allclose(scores_of_two, scores, rtol=1e-4)

# The weights that a callback restores stay: those of the first epoch. Class biases are refitted.
kept = []
watch = keras.callbacks.LambdaCallback(
    on_epoch_end=lambda epoch, logs: (
        logs.update(watched=epoch),
        kept.append([variable_value(v) for v in watch.model.network.trainable_variables]),
    )
)
best = keras.callbacks.EarlyStopping("watched", mode="min", patience=9, restore_best_weights=True)
restored = train("best", 2, 2, [watch, best])[0]
for got, first, last in zip(restored.network.trainable_variables, *kept, strict=True):
    np.testing.assert_array_equal(variable_value(got), first)
    assert (first != last).any()
