"""The autoregressive models, with all methods that users call on arrays.

Their base classes follow each other, and each needs only those below it:

- `image_model.ImageModel`: a Keras model of images and labels, which checks arrays
- `likelihood.LikelihoodModel`: the network, the distribution of a pixel, likelihoods of tensors
- `trainable.TrainableModel`: Keras's steps, the loss, and the posterior that training learns
- `scoring_model.ScoringModel`: the methods that score arrays of images
- `AutoregressiveModel`: sampling, compression, presets and export

They are base classes, and not objects that a model has, because Keras calls methods of the model
itself, and stores layers, weights and metrics under the names of the model's attributes.
"""

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from keras_pixelcnnpp.codec.container import compress_images, decompress_images
from keras_pixelcnnpp.conditions.values import taken
from keras_pixelcnnpp.models.scoring import choose_classes
from keras_pixelcnnpp.models.scoring_model import ScoringModel
from keras_pixelcnnpp.presets import Preset, preset_names, write_preset
from keras_pixelcnnpp.sampling.options import SamplingOptions
from keras_pixelcnnpp.sampling.sampler import sample_images
from keras_pixelcnnpp.utils.backend import require_tensorflow
from keras_pixelcnnpp.utils.checks import (
    checked_observed,
    is_prefix,
    require_choice,
    require_integer,
)


class _Presets:
    """Class attribute that lists the presets of a class and its subclasses."""

    def __get__(self, model: object, kind: type) -> dict[str, dict]:
        presets = {name: Preset(name) for name in preset_names()}
        return {name: preset.metadata for name, preset in presets.items() if preset.is_of(kind)}


class AutoregressiveModel(ScoringModel):
    """Base class of the autoregressive models of p(x | y), a product over pixels.

    A model combines a causal network and a distribution of one pixel. Subclasses create their
    network, an `AutoregressiveNetwork`, in `make_network`. Methods that take and return NumPy
    arrays check their inputs and work in batches. Several threads may sample, score and classify
    with these methods of one model, but not during its `fit`, `evaluate` or `predict`. The methods
    raise a `ValueError` for an argument that doesn't fit.

    The arguments of the constructor are documented in `PixelCNNPlusPlus`.

    Attributes:
        presets: Dict from the names of the class's presets to the content of their
            `metadata.json`, such as a `"description"`.
    """

    network_name: str | None = None  # value of the option `network` of the commands
    # Its options in `PixelCNNRecipe`; `None` for the network of the data's preset.
    recipe: ClassVar[dict | None] = None
    presets = _Presets()

    def sample(
        self,
        condition: Any,
        seed: int | None = None,
        temperature: float = 1.0,
        guidance: float = 0.0,
        guidance_logit_scale: float | None = None,
        batch_size: int = 100,
        verbose: int | str = "auto",
    ) -> np.ndarray:
        """Samples images, given the condition of each.

        Args:
            condition: Labels, int `(N,)` or class names, of which -1 samples the class at random,
                and thus from p(x); vectors, float `(N, size)`; maps `(N, height, width, channels)`;
                or a tuple of these in the order of the parts, or a dict by their names. A single
                value gives one image. For an unconditional model, the integer N.
            seed: Integer >= 0. Seed and position among the images determine an image, independent
                of the batch size. `None` gives different images in each call. (A SavedModel
                generates its random numbers in the graph, so the same seed gives different images
                there.)
            temperature: Number from 1e-6 to 1e6. Values below 1 give smoother and less diverse
                images. It divides the logits of each pixel's distribution (those of the mixture
                components or of the levels), and multiplies the scales of a mixture. The result is
                not the mixture to the power 1/T.
            guidance: Number w >= 0. Values above 0 give images that are more typical of their class
                and less diverse. Each sub-pixel is sampled with a probability proportional to
                p(l | y)^(1 + w) / q(l)^w. Here q is the mean of p(l | k) over all classes k,
                weighted by softmax(β r_k), and r_k is the log-likelihood of the earlier sub-pixels
                under class k. Guidance evaluates the network under all classes. Mixtures of more
                than 32 levels are guided in two steps, each with this law: l is first a range of
                about √L of the L levels, and then a level given its range, whose r_k includes the
                range.
            guidance_logit_scale: Number β >= 0, by default half of `logit_scale`. With 1, q is
                based on Bayes' rule, and soon hardly differs from p(l | y).
            batch_size: Integer, number of images or particles per batch.
            verbose: 0, 1 (progress bar) or `"auto"`, which is 1 at a terminal for several batches.

        Returns:
            uint8 array `(N, height, width, channels)`.

        Reference:
            Ho & Salimans 2022, Classifier-Free Diffusion Guidance, https://arxiv.org/abs/2207.12598
        """
        options = SamplingOptions(
            seed=seed,
            temperature=temperature,
            guidance=guidance,
            guidance_logit_scale=guidance_logit_scale,
            batch_size=batch_size,
            verbose=verbose,
        ).checked(self)
        self.require_values()
        values = self.encoder.scaled(self.conditions.parse_for_samples(condition))
        values = choose_classes(self, values, options)
        return sample_images(self, values, options)[0]

    def complete(
        self,
        images: np.ndarray,
        observed: ArrayLike,
        condition: Any = None,
        seed: int | None = None,
        temperature: float = 1.0,
        guidance: float = 0.0,
        guidance_logit_scale: float | None = None,
        num_particles: int = 64,
        num_samples: int | None = None,
        batch_size: int = 100,
        verbose: int | str = "auto",
    ) -> np.ndarray:
        """Completes images of which an arbitrary part is known (inpainting).

        If all known pixels precede the unknown ones in raster order, completions are exact samples
        of p(unknown | known, y). Otherwise, they approach this distribution with the number of
        particles, by the sequential Monte Carlo of `class_log_likelihoods`. With one particle,
        known pixels have no influence on unknown pixels before them. A warning is issued if the
        particles of an image have fewer than two effective ancestors, or `num_samples` / 4.

        Args:
            images: uint8 array `(N, height, width, channels)`, values from 0 to 255; uint16 below
                `num_levels` if these are more than 256, or codes below `num_levels` for a model
                with `ordered_levels=False`. Images of one channel need no channel axis.
            observed: The known part of each image, whose other pixels are ignored: an integer, the
                number of known rows from the top, or a mask of booleans, or of 0 and 1, `(height,
                width)` or `(N, height, width)`, true for known pixels, or `(N, height, width,
                channels)`, true for known channels of a pixel. `None` for whole images.
            condition: Labels, int `(N,)` or class names; vectors, float `(N, size)`; maps `(N,
                height, width, channels)`; or a tuple of these in the order of the parts, or a dict
                by their names; or one value for all images. The label -1, or no label, samples a
                class by Bayes' rule from the known pixels, with equally likely classes: p(y |
                known) of the model itself, not the tempered `class_probabilities`.
            seed: Integer >= 0. Seed and position among the images determine an image, independent
                of the batch size. `None` gives different images in each call. (A SavedModel
                generates its random numbers in the graph, so the same seed gives different images
                there.)
            temperature: Number from 1e-6 to 1e6. Values below 1 give smoother and less diverse
                images. It divides the logits of each pixel's distribution (those of the mixture
                components or of the levels), and multiplies the scales of a mixture. The result is
                not the mixture to the power 1/T.
            guidance: Number w >= 0. Values above 0 give images that are more typical of their class
                and less diverse. Each sub-pixel is sampled with a probability proportional to
                p(l | y)^(1 + w) / q(l)^w. Here q is the mean of p(l | k) over all classes k,
                weighted by softmax(β r_k), and r_k is the log-likelihood of the earlier sub-pixels
                under class k. Guidance evaluates the network under all classes. Mixtures of more
                than 32 levels are guided in two steps, each with this law: l is first a range of
                about √L of the L levels, and then a level given its range, whose r_k includes the
                range.
            guidance_logit_scale: Number β >= 0, by default half of `logit_scale`. With 1, q is
                based on Bayes' rule, and soon hardly differs from p(l | y).
            num_particles: Integer, number of particles for each image and class, where an unknown
                pixel precedes a known one in raster order.
            num_samples: Integer K, number of completions of each image, or `None` for one without
                an axis. They are independent if all known pixels come first. Otherwise, they are
                drawn from the weighted particles of one run, and share the class of label -1.
            batch_size: Integer, number of images or particles per batch.
            verbose: 0, 1 (progress bar) or `"auto"`, which is 1 at a terminal for several batches.

        Returns:
            uint8 array `(N, height, width, channels)`, or with `num_samples` `(N, K, height, width,
            channels)`. Known pixels are those of `images`, rounded to the model's levels.
        """
        images = self.checked_images(images)
        values = self.condition_values(condition, len(images))
        known = checked_observed(observed, len(images), self.image_shape)
        require_integer("num_particles", num_particles)
        if num_samples is not None:
            require_integer("num_samples", num_samples)
        options = SamplingOptions(
            seed=seed,
            temperature=temperature,
            guidance=guidance,
            guidance_logit_scale=guidance_logit_scale,
            batch_size=batch_size,
            verbose=verbose,
        ).checked(self)
        count, particles = num_samples or 1, num_particles
        if is_prefix(known):  # independent samples without particles
            rows, count, particles = np.arange(len(images)).repeat(count), 1, 0
            images, known, values = images[rows], known[rows], taken(values, rows)
        values = choose_classes(self, values, options, images, known, max(1, particles))
        samples, _ = sample_images(self, values, options, images, known, particles, count)
        shape = self.image_shape if num_samples is None else (num_samples, *self.image_shape)
        return samples.reshape(-1, *shape)

    def compress(
        self,
        images: np.ndarray,
        condition: Any = None,
        verbose: int | str = "auto",
        verify: bool = True,
    ) -> bytes:
        """Compresses images losslessly after rounding to the model's levels.

        Each image takes about -log2 p(x | y) bits. Nothing is rounded with 256 levels or more.
        `decompress` needs a model with the same weights; machine and backend may differ.

        Args:
            images: uint8 array `(N, height, width, channels)`, values from 0 to 255; uint16 below
                `num_levels` if these are more than 256, or codes below `num_levels` for a model
                with `ordered_levels=False`. Images of one channel need no channel axis.
            condition: Int array `(N,)`, class names, or one label for all images. Labels are stored
                in the file. `None` chooses for each image the class with the shortest code.
            verbose: 0, 1 (progress bar) or `"auto"`, which is 1 at a terminal for several batches.
            verify: Boolean, whether to decompress the result before it is returned, which takes
                most of the time. It is the default, because originals may be deleted afterwards.

        Returns:
            Bytes: a header of about 200 bytes with one or two bytes for each image, and a stream
            for each image. A stream is about 4 bytes longer than -log2 p(x | y).

        Raises:
            UserError: If the model contains a layer that is not part of this package, or weights
                that are too large for exact arithmetic.
            ArithmeticError: If the result cannot be decompressed to the same images.

        Example:

        ```python
        data = model.compress(images)
        8 * len(data) / images.size              # about model.bits_per_dim(images).mean()
        (model.decompress(data) == images).all()     # True if num_levels is 256
        ```

        Reference:
            Duda 2013, Asymmetric numeral systems, https://arxiv.org/abs/1311.2540
        """
        return compress_images(self, images, condition, verbose=verbose, verify=verify)

    def decompress(
        self,
        data: bytes | bytearray | memoryview,
        batch_size: int = 100,
        verbose: int | str = "auto",
    ) -> np.ndarray:
        """Decompresses the images in the result of `compress`.

        Args:
            data: Bytes that `compress` returned.
            batch_size: Integer, number of images or particles per batch.
            verbose: 0, 1 (progress bar) or `"auto"`, which is 1 at a terminal for several batches.

        Returns:
            uint8 array `(N, height, width, channels)`.

        Raises:
            UserError: If `data` is damaged, or was compressed by a model with other weights.
        """
        return decompress_images(self, data, batch_size, verbose)[0]

    @classmethod
    def from_preset(cls, preset: str | Path, load_weights: bool = True, **kwargs: Any) -> Self:
        """Creates a model from a preset.

        Args:
            preset: Name of a built-in preset, path of a folder written by `save_to_preset`, or
                `"hf://USER/NAME"`, a repository of the Hugging Face Hub, which needs the extra
                `hub`. `"hf://USER/NAME@COMMIT"` selects a fixed version.
            load_weights: Boolean. `False` gives randomly initialized weights.
            **kwargs: Constructor arguments that replace those of the preset. With a different
                `num_classes`, the weights of the labels are newly initialized. With other
                `class_names`, those of the preset's classes are used in their order. A warning says
                so in both cases. `dtype="mixed_bfloat16"` sets the precision, which presets do not
                store.

        Returns:
            A model of the preset's class, which is this class or a subclass.

        Raises:
            UserError: If the preset is unknown, can't be downloaded, is damaged, has no weights or
                a different class, or its weights don't fit the arguments.

        Example:

        >>> model = AutoregressiveModel.from_preset("digits", dropout_rate=0.1)
        >>> model.image_shape, model.num_classes
        ((8, 8, 1), 10)
        """
        found = Preset(preset)
        model = found.make(cls, **kwargs)
        if load_weights:
            found.load_weights(model, **kwargs)
        return model

    def save_to_preset(self, path: str | Path, metadata: dict | None = None) -> None:
        """Saves the model as a preset, a folder for `from_preset` and `upload_preset`.

        The precision is not saved. A loaded model has the dtype policy that is set at that time.

        Args:
            path: The folder, which is created if necessary. An existing model card, `README.md`, is
                kept.
            metadata: Optional dict for `metadata.json`, such as a `"description"`, results, and
                `"training"`, a dict of training options for `pixelcnnpp train --preset`.

        Raises:
            UserError: If `path` is the name of a built-in preset or the folder of a run, or
                `"training"` has an option that a preset may not set.
        """
        self.require_values()
        # A copy without the optimizer, whose moments and averages would quadruple the file size.
        copy = type(self).from_config(self.get_config())
        copy.set_weights(self.get_weights())
        write_preset(path, copy, metadata or {})

    def export(
        self,
        filepath: str | Path,
        format: str = "tf_saved_model",  # noqa: A002
        verbose: bool | None = None,
    ) -> None:
        """Exports a SavedModel that classifies, scores and samples without this package.

        `export.endpoints.export_saved_model` documents the endpoints. Image files with another
        aspect ratio are center-cropped. (The command `pixelcnnpp export` exports a run, with the
        option `--resize` of its training.)

        Args:
            filepath: The folder to write: new, empty, or a SavedModel, which is replaced.
            format: Must be `"tf_saved_model"`.
            verbose: Boolean, whether to print the folder.

        Raises:
            UserError: If the backend is not TensorFlow, the format is unknown, the model has more
                than 256 levels, or the folder has other content.

        Example:

        ```python
        model.export("savedmodel/1")
        SavedModelClassifier("savedmodel").predict(images)
        ```
        """
        require_choice("format", format, ("tf_saved_model",))
        require_tensorflow()
        # Imported late, because TensorFlow may not be installed under another backend.
        from keras_pixelcnnpp.export.endpoints import export_saved_model

        export_saved_model(self, filepath)
        if verbose:
            print(f"Saved artifact at {str(filepath)!r}.")
