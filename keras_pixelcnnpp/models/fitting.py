"""The training half of PixelCNN++: initialization from data, `fit` and `evaluate`."""

import numpy as np
from keras import ops

from keras_pixelcnnpp.input_checks import checked_images, checked_labels
from keras_pixelcnnpp.layers.weight_normalized import data_dependent_initialization
from keras_pixelcnnpp.models.first_batch import first_batch


class Fitting:
    """What `PixelCNNPlusPlus` adds to the `fit` and `evaluate` of `keras.Model`."""

    def fit(self, x=None, *args, **kwargs):
        """Trains as `keras.Model.fit`; before the first step, initializes from the first batch."""
        self._check_labels(x)
        if not self.initialized.numpy():  # int() fails for a variable of tf.distribute
            batch = first_batch(x)
            self.initialize(batch["image"], batch.get("label"))
        self._forget_other_candidates("train_function", x)
        # Keras would build it while tracing the first step, and then trace that step again.
        if self.optimizer is not None and not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        return super().fit(x, *args, **kwargs)

    def evaluate(self, x=None, *args, **kwargs):
        """Measures bits/dim, and with K > 1 cross-entropy and accuracy, as `keras.Model`."""
        self._forget_other_candidates("test_function", x)
        return super().evaluate(x, *args, **kwargs)

    def _check_labels(self, x):
        # A label too high would be "no label", and nobody would notice. Batches are their maker's.
        if isinstance(x, dict) and self.num_classes and x.get("label") is not None:
            labels = np.asarray(x["label"])
            checked_labels(labels.ravel(), labels.size, self.num_classes + 1)

    def _forget_other_candidates(self, function, x):
        # Given other shapes, TensorFlow would trace once more for labels of unknown rank.
        if self.num_classes:
            shape = np.shape(first_batch(x).get("label"))[1:]
            if self._traced_labels.setdefault(function, shape) != shape:
                self._traced_labels[function] = shape
                setattr(self, function, None)

    def initialize(self, images, labels=None):
        """Sets gains and biases from one batch of data (weight normalization), once.

        Args:
            images: uint8 levels `(batch, height, width, channels)`.
            labels: Int `(batch,)` or `(batch, K)`, of which the true label is used.
        """
        images = checked_images(images, self)
        inputs = {"image": ops.convert_to_tensor(images)}
        if self.num_classes:
            labels = np.asarray(labels)
            labels = labels[:, 0] if labels.ndim == 2 else labels
            labels = checked_labels(labels, len(images), self.num_classes + 1)
            inputs["label"] = ops.convert_to_tensor(labels)
        with data_dependent_initialization(self.network):
            self(inputs)
        self.initialized.assign(1)
