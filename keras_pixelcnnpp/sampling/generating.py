"""The generating half of PixelCNN++: samples and completions."""

import numpy as np

from keras_pixelcnnpp.arguments import require_positive_integer
from keras_pixelcnnpp.input_checks import checked_images, checked_labels
from keras_pixelcnnpp.sampling.generation import Generation, known_pixels
from keras_pixelcnnpp.sampling.pixel_sampler import PixelSampler
from keras_pixelcnnpp.untracked import untracked


class Generating:
    """What makes `PixelCNNPlusPlus` draw and complete pictures."""

    def sample(
        self,
        labels,
        seed=0,
        temperature=1.0,
        guidance=0.0,
        batch_size=100,
        verbose="auto",
    ):
        """Draws pictures of the given classes.

        Args:
            labels: Int `(N,)`; `num_classes` means "no label". An integer N for an unconditional
                model.
            seed: Integer >= 0. Seed and position in `labels` determine a picture, whatever the
                batch size.
            temperature: Number > 0; below 1, safer and smoother pictures.
            guidance: Number >= 0, the `w` of `p(x | y)**(1 + w) / p(x)**w`; needs a model trained
                with label dropout.
            batch_size: Integer, pictures at a time, which bounds the memory.
            verbose: 0, 1 (progress bar) or `"auto"` (1 for more than one batch).

        Returns:
            uint8 levels `(N, height, width, channels)`.

        Raises:
            ValueError: If an argument is out of range.
        """
        if self.num_classes:
            labels = checked_labels(labels, np.size(labels), self.num_classes + 1)
            inputs, count = {"label": labels}, len(labels)
        else:
            require_positive_integer("labels", labels)
            inputs, count = {}, labels
        return self._generation().run(
            inputs, count, seed, temperature, guidance, batch_size, verbose
        )

    def complete(
        self,
        images,
        known_rows,
        labels=None,
        seed=0,
        temperature=1.0,
        guidance=0.0,
        batch_size=100,
        verbose="auto",
    ):
        """Continues pictures whose first rows or pixels are given.

        Args:
            images: uint8 levels `(N, height, width, channels)`; what isn't known is ignored.
            known_rows: Integer, so many rows are kept; or a boolean mask `(height, width)` or `(N,
                height, width)` whose known pixels precede all others in raster order.
            labels: Int `(N,)`, not for an unconditional model.
            seed: As in `sample`, and so the others.
            temperature: Number > 0.
            guidance: Number >= 0.
            batch_size: Integer.
            verbose: 0, 1 or `"auto"`.

        Returns:
            uint8 levels `(N, height, width, channels)`, equal to `images` where known.

        Raises:
            ValueError: If an argument is out of range.
        """
        images = checked_images(images, self)
        known = known_pixels(known_rows, len(images), self.image_shape)
        inputs = {"image": images, "known": known}
        if self.num_classes:
            inputs["label"] = checked_labels(labels, len(images), self.num_classes + 1)
        return self._generation().run(
            inputs, len(images), seed, temperature, guidance, batch_size, verbose
        )

    def sample_tensors(self, labels, noise, temperature):
        """`sample` for tensors, for export: uint8 `(batch, height, width, channels)`.

        Args:
            labels: int32 `(batch,)`.
            noise: Uniform float32 in (0, 1), `(batch, height, width, num_mixtures + channels)`.
            temperature: Float32 `(batch,)`.
        """
        inputs = {"label": labels, "noise": noise, "temperature": temperature}
        return PixelSampler(self)(inputs)

    def _generation(self):
        generation = untracked(self, "generation")
        if generation.value is None:
            generation.value = Generation(self)
        return generation.value
