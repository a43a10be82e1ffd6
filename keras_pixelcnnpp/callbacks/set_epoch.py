"""Tells the data, and what else draws at random, which epoch it is."""

import keras
import numpy as np


class SetEpoch(keras.callbacks.Callback):
    """Calls `batches.set_epoch(epoch)` when an epoch begins; under torch seeds every step too.

    The order of the pictures depends on the seed and the epoch only. `fit` itself tells a
    `PyDataset` that an epoch ended, but never which one is about to begin, so a resumed run would
    see epoch 0 again.

    Args:
        batches: An `ImageSequence`.
    """

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch, logs=None):
        """Called by Keras."""
        self.batches.set_epoch(epoch)

    def on_train_batch_begin(self, batch, logs=None):
        """Called by Keras."""
        # Under torch, Keras's dropout draws from torch's global generator, which no checkpoint
        # knows of. Elsewhere a SeedGenerator is part of the model; and TensorFlow, given a new
        # global seed, prepares every compiled function anew, which takes seconds.
        if keras.backend.backend() == "torch":
            step = self.batches.first_step + batch
            words = [self.batches.seed, self.batches.epoch, step]
            seed = np.random.SeedSequence(words).generate_state(1)[0]
            keras.utils.set_random_seed(int(seed))
