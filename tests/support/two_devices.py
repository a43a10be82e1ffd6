"""Trains on one and on two devices, in the working directory, and writes what must agree.

A program of its own, because the number of devices is fixed when the backend starts.
"""

from contextlib import nullcontext

import keras
import numpy as np

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

import tiny

from keras_pixelcnnpp.recipes.recipe import PixelCNNRecipe
from keras_pixelcnnpp.training.checkpoints import Checkpoints
from keras_pixelcnnpp.training.train import train
from keras_pixelcnnpp.utils.backend import variable_value
from keras_pixelcnnpp.utils.distribution import all_devices, num_devices

SPLIT = tiny.tiny_split(17)  # batches of 8, 8 and 1: one device has no image of the last
RECIPE = {"batch_size": 8, "learning_rate": 0.01, "ema_momentum": 0.8}
# Under JAX, even the random numbers agree. Each device of TensorFlow has its own.
DROPOUT = 0.3 if keras.backend.backend() == "jax" else 0.0


def trained(name, epochs, devices):
    """Returns the logs and all variables of a training whose checkpoints are in a folder."""
    keras.utils.set_random_seed(0)
    logs = []
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, now: logs.append(dict(now)))
    with all_devices() if devices == 2 else nullcontext():
        assert num_devices() == devices
        model = tiny.untrained_pixelcnn(dropout_rate=DROPOUT, label_loss_weight=0.5)
        recipe = PixelCNNRecipe(**RECIPE, epochs=epochs).with_defaults()
        train(model, SPLIT, recipe, name, callbacks=[keep], verbose=0)
        variables = [*model.variables, *model.optimizer.variables]
        values = {f"{place:04}": variable_value(one) for place, one in enumerate(variables)}
    return {**values, **{key: np.array([one[key] for one in logs]) for key in logs[0]}}


np.savez("one.npz", **trained("one", 2, 1))
np.savez("two.npz", **trained("two", 2, 2))
# An epoch on one device, and a resumed one on two.
trained("both", 1, 1)
assert Checkpoints("both").saved()[-1].epoch == 1
np.savez("both.npz", **trained("both", 2, 2))
