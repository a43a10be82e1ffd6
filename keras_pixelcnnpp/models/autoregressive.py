"""What every model of the family does: fit, score, classify, sample, complete, compress."""

import types
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_pixelcnnpp.backend import Tensor
from keras_pixelcnnpp.checks import (
    checked_class_names,
    checked_image_shape,
    checked_images,
    checked_labels,
    checked_rows,
    plain,
    require_images,
    require_integer,
    require_number,
)
from keras_pixelcnnpp.codec.container import compress_images, decompress_images
from keras_pixelcnnpp.distributions import logistic_mixture
from keras_pixelcnnpp.distributions.heads import make_head
from keras_pixelcnnpp.distributions.levels import to_levels
from keras_pixelcnnpp.errors import UserError, invalid_argument
from keras_pixelcnnpp.layers.convolutions import is_initializing
from keras_pixelcnnpp.layers.posterior import LabelPosterior, log_marginal
from keras_pixelcnnpp.models.inputs import ImageModel, require_labels
from keras_pixelcnnpp.models.saving import Saving
from keras_pixelcnnpp.models.scoring import score, up_to_rows
from keras_pixelcnnpp.models.training import Training
from keras_pixelcnnpp.sampling.sampler import sample_images


class AutoregressiveModel(Saving, Training, ImageModel):
    """p(x | y) as a product over pixels: a causal network and a distribution of one pixel.

    A subclass makes the network, an `AutoregressiveNetwork`, and hands it to `_assemble`. The
    methods that take and return arrays check their inputs and work in batches. Several threads may
    sample, score and classify with one model, but not while it is trained or evaluated.

    The arguments are described in `PixelCNNPlusPlus`.
    """

    _title = None  # the name by which people know a subclass
    _default_conditioning = "bias"
    # Whether a softmax's sub-pixels depend on each other by tables: the network computes them all
    # at once.
    _head_has_tables = True

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        num_levels: int = 256,
        *,
        filters: int | Sequence[int],
        num_blocks: int | Sequence[int],
        num_mixtures: int = 5,
        head: str = "logistic_mixture",
        conditioning: str | None = None,
        dropout_rate: float = 0.0,
        label_dropout_rate: float = 0.0,
        label_loss_weight: float | None = None,
        num_candidates: int | None = None,
        unlabeled_weight: float = 0.0,
        initial_logit_scale: float | None = None,
        learn_logit_scale: bool = True,
        learn_class_bias: bool = True,
        class_names: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        require_integer("num_classes", num_classes, low=0, high=100_000)
        conditional = num_classes > 1
        if conditioning is None:
            conditioning = self._default_conditioning if conditional else "none"
        if label_loss_weight is None:
            label_loss_weight = 0.3 if conditional else 0.0
        require_integer("num_levels", num_levels, low=2, high=256)
        require_number("dropout_rate", dropout_rate, "[0, 1)")
        require_number("label_dropout_rate", label_dropout_rate, "[0, 1)")
        require_number("label_loss_weight", label_loss_weight, "[0, inf)")
        require_number("unlabeled_weight", unlabeled_weight, "[0, inf)")
        if initial_logit_scale is not None:
            require_number("initial_logit_scale", initial_logit_scale, "(0, inf)")
        if unlabeled_weight and not conditional:
            raise UserError(
                "Invalid value for argument `unlabeled_weight`. It is for two classes or more. "
                f"Received: unlabeled_weight={unlabeled_weight}, num_classes={num_classes}"
            )
        if num_candidates is not None:
            require_integer("num_candidates", num_candidates, low=2)
        if unlabeled_weight and num_candidates is not None and num_candidates < num_classes:
            raise UserError(
                "Invalid value for argument `unlabeled_weight`. Images without a label need all "
                f"{num_classes} classes as candidates. Received: "
                f"unlabeled_weight={unlabeled_weight}, num_candidates={num_candidates}"
            )
        self.image_shape = checked_image_shape(image_shape)
        self.num_classes = plain(num_classes)
        self.num_levels = plain(num_levels)
        self.filters = plain(filters)
        self.num_blocks = plain(num_blocks)
        self.num_mixtures = plain(num_mixtures)
        self.head = head
        self.conditioning = conditioning
        self.dropout_rate = plain(dropout_rate)
        self.label_dropout_rate = plain(label_dropout_rate)
        self.label_loss_weight = plain(label_loss_weight)
        self.num_candidates = plain(num_candidates)
        self.unlabeled_weight = plain(unlabeled_weight)
        self.initial_logit_scale = plain(initial_logit_scale)
        self.learn_logit_scale = plain(learn_logit_scale)
        self.learn_class_bias = plain(learn_class_bias)
        self.class_names = checked_class_names(class_names, num_classes)
        channels = self.image_shape[-1]
        self.distribution = make_head(
            head, channels, self.num_levels, self.num_mixtures, self._head_has_tables
        )

    def _assemble(self, network):
        # In this order: checkpoints number the variables.
        self.network = network
        self._likelihood_only = False
        # By likelihood alone they get no gradients. Not left out: `label_loss_weight` may change.
        conditional = self.num_classes > 1
        self.posterior = LabelPosterior(
            max(self.num_classes, 1),
            self.initial_logit_scale or (0.1 if self.label_loss_weight else 1.0),
            learn_logit_scale=self.learn_logit_scale and conditional,
            learn_class_bias=self.learn_class_bias and conditional,
            name="posterior",
        )
        self.seed_generator = keras.random.SeedGenerator()
        self._bits_per_dim_metric = keras.metrics.Mean(name="bits_per_dim")
        self._cross_entropy_metric = keras.metrics.Mean(name="cross_entropy")
        self._accuracy_metric = keras.metrics.Mean(name="accuracy")
        # Compiled scorers, samplers and coders, by what they were compiled for. In a namespace:
        # Keras tracks the models in a dict, and saves them with this one.
        self._runners = types.SimpleNamespace(scorers={}, samplers={}, coders={}, network=None)
        self.build({"image": (None, *self.image_shape), "label": (None, None)})

    def build(self, input_shape: Any) -> None:
        height, width, channels = self.image_shape
        self.network.build((None, 1, height, width, channels))
        self.posterior.build()
        self._initialized = self.add_weight(
            name="initialized", shape=(), dtype="int32", initializer="zeros", trainable=False
        )

    @property
    def num_labels(self) -> int:
        """Number of labels, one more than classes where training hid some.

        Calls take -1 for "no label", which the network knows as `num_classes`.
        """
        return self.num_classes + (self.label_dropout_rate > 0)

    def _network_labels(self, labels: ArrayLike | None, count: int) -> np.ndarray | None:
        """Labels of a call, or one for all, as the network takes them: int32 `(count,)`.

        `None` for an unconditional model, for which there must be none.
        """
        if not self.num_classes:
            if labels is not None:
                raise invalid_argument("labels", labels, "None, as the model is unconditional")
            return None
        lowest = self.num_classes - self.num_labels
        labels = checked_labels(labels, count, self.num_classes, self.class_names, lowest)
        return np.where(labels < 0, self.num_classes, labels).astype("int32")

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of filters at each resolution, highest first."""
        return (self.filters,)

    @property
    def dimensions(self) -> int:
        """Number of sub-pixels of an image, the divisor of bits per dimension."""
        return int(np.prod(self.image_shape))

    @property
    def logit_scale(self) -> float:
        """The factor α of the posterior softmax(α · log p(x | y) + b)."""
        return float(np.exp(ops.convert_to_numpy(self.posterior.log_logit_scale)))

    @property
    def class_bias(self) -> np.ndarray:
        """The biases b of the posterior, float32 `(num_classes,)`."""
        return ops.convert_to_numpy(self.posterior.class_bias)[: self.num_classes]

    def call(self, inputs: dict[str, Tensor], training: bool = False) -> Tensor:
        inputs = inputs if isinstance(inputs, dict) else {"image": inputs}
        if self.num_classes and "label" not in inputs:
            return self._posterior_tensors(inputs["image"])["probabilities"]
        require_images(inputs["image"], self.image_shape)
        if self.num_classes and not training:  # `fit` has checked them before the step
            require_labels(inputs["label"], self)
        labels = self._candidates(inputs)
        if training and self.label_dropout_rate > 0 and labels is not None:
            labels = self._drop_labels(labels)
        levels = to_levels(inputs["image"], self.num_levels)
        image = logistic_mixture.scale_to_unit(levels, self.num_levels)
        network = self._compiled_network() or self.network
        parameters = network(ops.expand_dims(image, 1), labels, training=training)
        if labels is not None and labels.shape[1] != parameters.shape[1]:
            parameters = ops.repeat(parameters, labels.shape[1], axis=1)
        return parameters

    def _compiled_network(self):
        """What torch compiles if asked to with `jit_compile=True`; else `None`."""
        wanted = keras.backend.backend() == "torch" and self.jit_compile
        if not wanted or is_initializing():
            return None
        if self._runners.network is None:
            from keras_pixelcnnpp.models.torch_network import CompiledNetwork

            self._runners.network = CompiledNetwork(self.network)
        return self._runners.network

    def _should_torch_compile(self):
        return False  # Keras's whole step, in which its compiler finds breaks only

    def _candidates(self, inputs):
        """Labels as `(batch, K)`, or `None` for an unconditional model."""
        if self.num_classes == 0:
            return None
        labels = ops.cast(inputs["label"], "int32")
        return ops.expand_dims(labels, 1) if len(labels.shape) == 1 else labels

    def log_likelihood(self, parameters: Tensor, images: Tensor) -> Tensor:
        """Nats `(batch, K)`, of parameters `(batch, K, height, width, num_parameters)`."""
        return ops.sum(self.pixel_log_likelihood(parameters, images), axis=(2, 3))

    def pixel_log_likelihood(self, parameters: Tensor, images: Tensor) -> Tensor:
        """That of each pixel: nats `(batch, K, height, width)`."""
        levels = ops.expand_dims(to_levels(images, self.num_levels), 1)
        return self.distribution.log_prob(parameters, levels)

    # Scoring

    def log_prob(
        self,
        images: np.ndarray,
        labels: ArrayLike | None = None,
        batch_size: int = 32,
        verbose: int | str = 0,
    ) -> np.ndarray:
        """Log-likelihood log p(x | y) of each image under its label.

        Args:
            images: uint8 `(N, height, width, channels)`.
            labels: Int `(N,)`, or names of classes; -1 means "no label", which a model with
                `label_dropout_rate` > 0 knows. `None` for an unconditional model.
            batch_size: Integer, images at a time.
            verbose: As in `keras.Model.predict`.

        Returns:
            Float32 array `(N,)`, nats.

        Raises:
            ValueError: If images or labels don't fit the model.
        """
        images = checked_images(images, self.image_shape)
        labels = self._network_labels(labels, len(images))
        return score(self, images, labels, batch_size, verbose)[:, 0]

    def class_log_likelihoods(
        self,
        images: np.ndarray,
        batch_size: int = 32,
        verbose: int | str = 0,
        observed_rows: ArrayLike | None = None,
    ) -> np.ndarray:
        """Log-likelihood log p(x | y) of each image, or of its first rows, under every class.

        Args:
            images: uint8 `(N, height, width, channels)`.
            batch_size: Integer, images at a time.
            verbose: As in `keras.Model.predict`.
            observed_rows: Integer from 0 to the height, how many of the first rows count; or a
                sequence of M of these, all from one pass: log p of the first rows is a part of the
                sum that log p of the image is. `None` for the whole image.

        Returns:
            Float32 array `(N, num_classes)`, nats; `(N, M, num_classes)` for a sequence.

        Raises:
            ValueError: If the images don't fit the model, or there are no such rows.
        """
        self._require_classes()
        images = checked_images(images, self.image_shape)
        labels = np.tile(np.arange(self.num_classes, dtype="int32"), (len(images), 1))
        if observed_rows is None:
            return score(self, images, labels, batch_size, verbose)
        observed_rows = checked_rows(observed_rows, self.image_shape[0])
        return up_to_rows(observed_rows, score(self, images, labels, batch_size, verbose, "row"))

    def _require_classes(self):
        if not self.num_classes:
            raise UserError("This model knows no classes to compare")

    def class_probabilities(
        self,
        images: np.ndarray,
        batch_size: int = 32,
        verbose: int | str = 0,
        observed_rows: ArrayLike | None = None,
    ) -> np.ndarray:
        """Posterior p(y | x) by Bayes' rule, of the whole image or of its first rows.

        Args:
            images: As in `class_log_likelihoods`, and so the others. What is below the observed
                rows makes no difference.
            batch_size: Integer.
            verbose: 0, 1 or 2.
            observed_rows: Integer, or a sequence of M. The likelihood of these rows is exact. The
                logit scale and the class biases, where training learned some, are those of whole
                images, so the posterior of parts may be badly calibrated; 0 rows give the softmax
                of the class biases.

        Returns:
            Float32 array `(N, num_classes)`; `(N, M, num_classes)` for a sequence.

        Example:

        ```python
        model.class_probabilities(images, observed_rows=8)                    # (N, num_classes)
        model.class_probabilities(images, observed_rows=range(height + 1))    # from one pass
        ```
        """
        scores = self.class_log_likelihoods(images, batch_size, verbose, observed_rows)
        return self.posterior.probabilities(scores)

    def bits_per_dim(
        self, images: np.ndarray, batch_size: int = 32, verbose: int | str = 0
    ) -> np.ndarray:
        """Bits/dim of p(x), the mean of p(x | y) over equally likely classes: array `(N,)`."""
        if self.num_classes == 0:
            log_likelihood = self.log_prob(images, None, batch_size, verbose)
        else:
            log_likelihood = log_marginal(self.class_log_likelihoods(images, batch_size, verbose))
        return logistic_mixture.bits_per_dim(log_likelihood, self.image_shape)

    # Sampling

    def sample(
        self,
        labels: ArrayLike,
        seed: int | None = None,
        temperature: float = 1.0,
        guidance: float = 0.0,
        batch_size: int = 100,
        verbose: int | str = "auto",
    ) -> np.ndarray:
        """Samples images of the given classes.

        Args:
            labels: Int `(N,)` or names of classes; -1 means "no label"; a single one gives one
                image. An integer N for an unconditional model.
            seed: Integer >= 0: seed and position in `labels` determine an image, whatever the
                batch size. `None`: other images at each call. (A SavedModel makes its noise in
                the graph, so that one seed gives other images there.)
            temperature: Number from 1e-6 to 1e6; below 1, safer and smoother images. It divides the
                logits of each pixel's distribution (of a mixture's components, or of a softmax's
                levels) and multiplies the scales of a mixture.
            guidance: Number >= 0, the `w` of `p(x | y)**(1 + w) / p(x)**w`, both p at the
                temperature; needs a model trained with label dropout.
            batch_size: Integer, images at a time, which bounds the memory.
            verbose: 0, 1 (progress bar) or `"auto"`: 1 at a terminal, of more than one batch.

        Returns:
            uint8 `(N, height, width, channels)`.

        Raises:
            ValueError: If an argument is out of range.
        """
        return sample_images(
            self, labels, None, 0, seed, temperature, guidance, batch_size, verbose
        )

    def complete(
        self,
        images: np.ndarray,
        observed_rows: ArrayLike,
        labels: ArrayLike | None = None,
        seed: int | None = None,
        temperature: float = 1.0,
        guidance: float = 0.0,
        batch_size: int = 100,
        verbose: int | str = "auto",
    ) -> np.ndarray:
        """Continues images whose first rows or pixels are given.

        Args:
            images: uint8 `(N, height, width, channels)`; what isn't known is ignored.
            observed_rows: Integer, so many rows are kept; or a boolean mask `(height, width)` or
                `(N, height, width)` whose known pixels precede all others in raster order.
            labels: Int `(N,)` or names of classes, or one for all images; not for an
                unconditional model.
            seed: As in `sample`, and so the others.
            temperature: As in `sample`.
            guidance: Number >= 0.
            batch_size: Integer.
            verbose: 0, 1 or `"auto"`.

        Returns:
            uint8 `(N, height, width, channels)`; where known, `images` in the model's levels.

        Raises:
            ValueError: If an argument is out of range.
        """
        return sample_images(
            self, labels, images, observed_rows, seed, temperature, guidance, batch_size, verbose
        )

    def evidence_map(
        self,
        images: np.ndarray,
        labels: ArrayLike,
        against: ArrayLike,
        batch_size: int = 32,
        verbose: int | str = 0,
    ) -> np.ndarray:
        """Where in an image the decision for one class and against another comes from.

        For each pixel i, in raster order, all its channels together,

            log p(x_i | x_<i, y) - log p(x_i | x_<i, y')

        The sum over an image is log p(x | y) - log p(x | y'): the evidence of the whole image,
        which the posterior multiplies with its logit scale before it adds the biases.

        Args:
            images: uint8 `(N, height, width, channels)`.
            labels: Int `(N,)` or names, the classes y, or one for all; -1 means "no label".
            against: The classes y', likewise.
            batch_size: Integer, images at a time.
            verbose: As in `keras.Model.predict`.

        Returns:
            Float32 array `(N, height, width)`, nats; positive where a pixel speaks for y.

        Raises:
            ValueError: If images or labels don't fit the model, or it knows no classes.

        Example:

        ```python
        evidence = model.evidence_map(images, labels, (labels + 1) % model.num_classes)
        evidence.sum(axis=(1, 2))      # log_prob(images, labels) - log_prob(images, …)
        ```
        """
        self._require_classes()
        images = checked_images(images, self.image_shape)
        pairs = [self._network_labels(one, len(images)) for one in (labels, against)]
        scores = score(self, images, np.stack(pairs, axis=1), batch_size, verbose, "pixel")
        return scores[:, 0] - scores[:, 1]

    # Compressing

    def compress(
        self,
        images: np.ndarray,
        labels: ArrayLike | None = None,
        batch_size: int = 100,
        verbose: int | str = "auto",
    ) -> bytes:
        """Compresses images without loss, to about -log2 p(x | y) bits each.

        That is, what `num_levels` keeps of them: all where it is 256. They are decoded and
        compared before this returns. `decompress` needs this model, with these
        weights, under the same backend, and floats that round as they do here: those of another
        machine or version may not, and then it refuses.

        Args:
            images: uint8 `(N, height, width, channels)`.
            labels: Int `(N,)` or names, or one for all, coded too; -1 means "no label". `None`:
                the class that makes each image shortest.
            batch_size: Integer from 1 to 1024, images at a time, as `decompress` will have them.
            verbose: 0, 1 (progress bar) or `"auto"`: 1 at a terminal.

        Returns:
            Bytes. Beside the images: some hundred of them, and 4 an image, its checksum.

        Raises:
            ValueError: If an argument doesn't fit the model.
            UserError: If constriction (the extra `codec`) is not installed.

        Example:

        ```python
        data = model.compress(images)
        8 * len(data) / images.size              # about model.bits_per_dim(images).mean()
        (model.decompress(data) == images).all()     # True of a model of 256 levels
        ```

        Reference:
            Bamler 2022, constriction, https://arxiv.org/abs/2201.01741
        """
        return compress_images(self, images, labels, None, batch_size, verbose).data

    def decompress(self, data: bytes, verbose: int | str = "auto") -> np.ndarray:
        """Gives back the images that `compress` was given.

        Args:
            data: Bytes that `compress` returned.
            verbose: As in `compress`.

        Returns:
            uint8 `(N, height, width, channels)`.

        Raises:
            UserError: If they are damaged, or this model, backend, version or machine is not that
                which compressed them: there are never wrong images.
        """
        return decompress_images(self, data, verbose)[0]
