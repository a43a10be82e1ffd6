"""The scoring half of PixelCNN++: likelihoods, posterior, bits per dimension."""

import math

import numpy as np
from keras import ops

from keras_pixelcnnpp.array_batches import ArrayBatches
from keras_pixelcnnpp.distributions import logistic_mixture
from keras_pixelcnnpp.feeding import feed
from keras_pixelcnnpp.input_checks import checked_images, checked_labels
from keras_pixelcnnpp.models.log_likelihood import LogLikelihood
from keras_pixelcnnpp.untracked import untracked


class Scoring:
    """What `PixelCNNPlusPlus` can say about given pictures.

    Methods that take and return arrays check their inputs and work in batches; those named
    `…_tensors` can be traced and exported.
    """

    def log_prob(self, images, labels=None, batch_size=32, verbose=0):
        """Log-likelihood log p(x | y) of each picture under its label.

        Args:
            images: uint8 levels `(N, height, width, channels)`.
            labels: Int `(N,)`; `num_classes` means "no label".
            batch_size: Integer, pictures at a time.
            verbose: As in `keras.Model.predict`.

        Returns:
            Float32 array `(N,)`, nats.

        Raises:
            ValueError: If pictures or labels don't fit the model.
        """
        inputs = {"image": checked_images(images, self)}
        if self.num_classes:
            inputs["label"] = checked_labels(labels, len(inputs["image"]), self.num_classes + 1)
        return self._score(inputs, batch_size, verbose)[:, 0]

    def class_log_likelihoods(self, images, batch_size=32, verbose=0):
        """Log-likelihood log p(x | y) of each picture under every class.

        Args:
            images: uint8 levels `(N, height, width, channels)`.
            batch_size: Integer, pictures at a time.
            verbose: As in `keras.Model.predict`.

        Returns:
            Float32 array `(N, num_classes)`, nats.
        """
        images = checked_images(images, self)
        labels = np.tile(np.arange(self.num_classes, dtype="int32"), (len(images), 1))
        return self._score({"image": images, "label": labels}, batch_size, verbose)

    def class_probabilities(self, images, batch_size=32, verbose=0):
        """Posterior p(y | x) by Bayes' rule: float32 array `(N, num_classes)`."""
        scores = self.class_log_likelihoods(images, batch_size, verbose)
        return self.posterior.probabilities(scores)

    def bits_per_dim(self, images, batch_size=32, verbose=0):
        """Bits/dim of p(x), the mean of p(x | y) over equally likely classes: array `(N,)`."""
        if self.num_classes == 0:
            log_likelihood = self.log_prob(images, None, batch_size, verbose)
        else:
            scores = self.class_log_likelihoods(images, batch_size, verbose)
            log_likelihood = np.logaddexp.reduce(scores, axis=1) - np.log(self.num_classes)
        return logistic_mixture.nats_to_bits_per_dim(-log_likelihood, self.dimensions)

    def evidence_map(self, images, labels, against, batch_size=32, verbose=0):
        """Where in a picture the decision for one class and against another comes from.

        For each pixel i, in raster order, all its channels together,

            log p(x_i | x_<i, y) - log p(x_i | x_<i, y')

        The sum over a picture is log p(x | y) - log p(x | y'): the evidence of the whole picture,
        which the posterior multiplies with its temperature before it adds the offsets.

        Args:
            images: uint8 levels `(N, height, width, channels)`.
            labels: Int `(N,)`, the classes y; `num_classes` means "no label".
            against: Int `(N,)`, the classes y'.
            batch_size: Integer, pictures at a time.
            verbose: As in `keras.Model.predict`.

        Returns:
            Float32 array `(N, height, width)`, nats; positive where a pixel speaks for y.

        Raises:
            ValueError: If pictures or labels don't fit the model, or it knows no classes.

        Example:

        ```python
        evidence = model.evidence_map(images, labels, (labels + 1) % model.num_classes)
        evidence.sum(axis=(1, 2))      # log_prob(images, labels) - log_prob(images, …)
        ```
        """
        if not self.num_classes:
            raise ValueError("`evidence_map` compares classes, and this model knows none.")
        images = checked_images(images, self)
        candidates = [
            checked_labels(given, len(images), self.num_classes + 1) for given in (labels, against)
        ]
        inputs = {"image": images, "label": np.stack(candidates, axis=1)}
        scores = self._score(inputs, batch_size, verbose, per_pixel=True)
        return scores[:, 0] - scores[:, 1]

    def _score(self, inputs, batch_size, verbose, per_pixel=False):
        if len(inputs["image"]) == 0:
            candidates = inputs["label"].shape[1:] if "label" in inputs else ()
            place = self.image_shape[:2] if per_pixel else ()
            return np.zeros((0, *(candidates or (1,)), *place), "float32")
        # One for each number of candidates: TensorFlow would trace again for unknown shapes.
        kind = ("log_likelihood", per_pixel, np.shape(inputs.get("label"))[1:])
        runner = untracked(self, kind)
        if runner.value is None:
            runner.value = LogLikelihood(self, per_pixel)
        return runner.value.predict(feed(ArrayBatches(inputs, batch_size)), verbose=verbose)

    # Tensors, for export

    def log_prob_tensors(self, images, labels):
        """`log_prob` for tensors: uint8 `(batch, height, width, channels)`, int `(batch,)`."""
        parameters = self({"image": images, "label": labels}, training=False)
        return self.log_likelihood(parameters, images)[:, 0]

    def posterior_tensors(self, images):
        """Scores of a tensor of pictures under all classes.

        Args:
            images: uint8 levels `(batch, height, width, channels)`.

        Returns:
            Dict of `"log_likelihood"` `(batch, num_classes)` in nats, `"probabilities"` `(batch,
            num_classes)` and `"bits_per_dim"` `(batch,)` of p(x).
        """
        labels = ops.tile(ops.arange(self.num_classes)[None], (ops.shape(images)[0], 1))
        parameters = self({"image": images, "label": labels}, training=False)
        log_likelihood = self.log_likelihood(parameters, images)
        marginal = ops.logsumexp(log_likelihood, axis=-1) - math.log(self.num_classes)
        return {
            "log_likelihood": log_likelihood,
            "probabilities": ops.softmax(self.posterior.class_logits(log_likelihood), axis=-1),
            "bits_per_dim": logistic_mixture.nats_to_bits_per_dim(-marginal, self.dimensions),
        }
