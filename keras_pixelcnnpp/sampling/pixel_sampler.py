"""Draws pictures pixel by pixel, as a model for `predict`."""

import keras
from keras import ops

from keras_pixelcnnpp.distributions import logistic_mixture
from keras_pixelcnnpp.sampling.guidance import sample_guided
from keras_pixelcnnpp.sampling.incremental_pass import IncrementalPass


class PixelSampler(keras.Model):
    """Maps labels and uniform noise to pictures: generation, completion and guidance.

    A Keras model, so that `predict` does the batching, compiling and progress bar. All randomness
    is in the noise, so that one seed gives the same pictures whatever the batch size.

    Args:
        model: A `PixelCNNPlusPlus`.
        guided: Boolean, whether label guidance is used, at twice the cost.

    Call arguments:
        inputs: Dict of
            `"label"`, int `(batch,)` (absent for an unconditional model);
            `"noise"`, uniform in (0, 1), `(batch, height, width, num_mixtures + channels)`;
            `"temperature"`, float `(batch,)`;
            `"guidance"`, float `(batch,)`, only if `guided`;
            `"image"`, levels `(batch, height, width, channels)`, and `"known"`, int `(batch,)`:
            so many pixels, in raster order, are taken from the picture (both may be absent).

    Returns:
        uint8 levels `(batch, height, width, channels)`.
    """

    def __init__(self, model, guided=False):
        # Under a policy of mixed precision Keras would round the noise to half precision.
        super().__init__(name="pixel_sampler", dtype="float32")
        self.model = model
        self.guided = guided
        self.incremental_pass = IncrementalPass(model)
        self.built = True

    def call(self, inputs):
        labels, batch_size = inputs.get("label"), ops.shape(inputs["noise"])[0]
        if self.guided:
            none = ops.full_like(labels, self.model.num_classes)
            labels, batch_size = ops.concatenate([labels, none]), 2 * batch_size
        records = self.incremental_pass.run(
            labels, batch_size, self._chooser(inputs), self.model.image_shape[-1]
        )
        records = records[:, :, : ops.shape(inputs["noise"])[0]]
        return ops.cast(ops.transpose(records, (2, 0, 1, 3)), "uint8")

    def _chooser(self, inputs):
        """The function that draws one pixel, or takes the known one."""
        _, width, channels = self.model.image_shape
        noise = self._by_pixel(inputs["noise"])
        temperature = ops.reshape(inputs["temperature"], (-1, 1))
        image = self._by_pixel(inputs["image"]) if "image" in inputs else None

        def choose(parameters, row, column):
            index = row * width + column
            draw = ops.take(noise, index, axis=0)
            if self.guided:
                weight = ops.reshape(inputs["guidance"], (-1, 1))
                levels = sample_guided(
                    parameters, draw, weight, channels, self.model.num_levels, temperature
                )
            else:
                levels = logistic_mixture.sample(
                    parameters, draw, channels, self.model.num_levels, temperature
                )
            if image is not None:
                known = ops.reshape(index < inputs["known"], (-1, 1))
                levels = ops.where(known, ops.take(image, index, axis=0), levels)
            return ops.concatenate([levels, levels]) if self.guided else levels

        return choose

    def _by_pixel(self, images):
        """`(batch, height, width, n)` as `(height * width, batch, n)`, float32."""
        height, width, _ = self.model.image_shape
        pixels = ops.reshape(images, (-1, height * width, images.shape[-1]))
        return ops.cast(ops.transpose(pixels, (1, 0, 2)), "float32")
