"""How the value of a pixel is chosen from its parameters: as a whole, or sub-pixel by sub-pixel."""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from keras import ops

from keras_pixelcnnpp.conditions import Values
from keras_pixelcnnpp.conditions.classes import all_classes, class_of, with_classes
from keras_pixelcnnpp.conditions.values import as_candidates
from keras_pixelcnnpp.distributions.head import Head, first_level_above
from keras_pixelcnnpp.sampling.model import PixelModel
from keras_pixelcnnpp.sampling.options import SamplingOptions
from keras_pixelcnnpp.utils.backend import Tensor, Tensors

#: Boolean tensor `(batch, channels)`, whether sub-pixels are known, and levels `(batch, channels)`.
Known = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class WholePixels:
    """Samples pixels by the head's own method, which is the fastest.

    Known pixels are known in all channels.

    Args:
        head: The distribution of a pixel.
    """

    head: Head

    @property
    def noise_size(self) -> int:
        """Number of uniform random numbers for a pixel."""
        return self.head.noise_size

    @property
    def candidates(self) -> int:
        """Number of values under which each image is evaluated."""
        return 1

    def inputs(self, options: SamplingOptions, count: int) -> dict[str, np.ndarray]:
        """Returns what `choose` needs of the options, a number for each image, `(count,)`."""
        return {"temperature": np.full(count, options.temperature, "float32")}

    def values(self, values: Values) -> Values:
        """Returns the values `(batch, candidates, ...)` of the pass, from those of the images."""
        return as_candidates(values)

    def first(self, batch_size: int | Tensor) -> Tensors:
        """Returns the entries of `carry` before the first pixel, `(batch, ...)`."""
        return {}

    def choose(
        self,
        parameters: Tensor,
        noise: Tensor,
        known: Known | None,
        inputs: Tensors,
        carry: Tensors,
    ) -> tuple[Tensor, Tensors, Tensor]:
        """Samples a pixel of each image, or uses its known value.

        Args:
            parameters: Float tensor `(batch, candidates, num_parameters)`.
            noise: Float tensor `(batch, noise_size)`, uniform in (0, 1).
            known: See `Known`; `None` if nothing is known.
            inputs: Dict of tensors `(batch, 1, ...)`, those of the method `inputs` and `"values"`.
            carry: Dict of tensors, those of `first` and others.

        Returns:
            The levels `(batch, channels)`, whole floats; the new `carry`; and the log-probability
            `(batch,)` of the known levels, nats.
        """
        parameters, temperature = parameters[:, 0], inputs["temperature"]
        levels = self.head.sample(parameters, noise, temperature)
        if known is None:
            return levels, carry, ops.zeros_like(noise[:, 0])
        levels = ops.where(*known, levels)
        log_prob = self.head.log_prob(parameters, levels, temperature)
        return levels, carry, ops.where(known[0][:, 0], log_prob, 0.0)


@dataclass(frozen=True)
class SubPixels(WholePixels):
    """Samples each sub-pixel in turn by inversion, so that known pixels may be known in part.

    With more than `head.levels_at_once` levels, each of two digits of a level is sampled in turn.

    Args:
        head: The distribution of a pixel.
        has_temperature: Boolean, whether there is a temperature other than 1.
    """

    has_temperature: bool = True

    @property
    def digits(self) -> list[tuple[int, int]]:
        """Unit and number of values of each digit of a level, highest digit first."""
        num_levels = self.head.num_levels
        if num_levels <= self.head.levels_at_once:
            return [(1, num_levels)]
        unit = math.isqrt(num_levels - 1) + 1
        return [(unit, -(-num_levels // unit)), (1, unit)]

    @property
    def noise_size(self) -> int:
        return self.head.channels * len(self.digits)

    def inputs(self, options: SamplingOptions, count: int) -> dict[str, np.ndarray]:
        return super().inputs(options, count) if self.has_temperature else {}

    def choose(
        self,
        parameters: Tensor,
        noise: Tensor,
        known: Known | None,
        inputs: Tensors,
        carry: Tensors,
    ) -> tuple[Tensor, Tensors, Tensor]:
        levels, log_prob = [], ops.zeros_like(noise[:, 0])
        uniform = iter(ops.split(noise, noise.shape[1], axis=1))
        temperature = inputs["temperature"][:, None] if self.has_temperature else None
        digits = self.digits
        for channel in range(self.head.channels):
            earlier = [ops.expand_dims(level, 1) for level in levels]
            level = ops.zeros_like(noise[:, :1])
            for unit, count in digits:
                # 1. The probabilities of the values of this digit.
                part = {"first": level[:, None], "size": unit, "count": count}
                part = part if len(digits) > 1 else {}
                log_probs: Any = partial(self.head.level_log_probs, parameters, earlier, **part)
                found = log_probs(temperature)
                law = self.law(found, inputs, carry)
                # 2. Its value: sampled, or known.
                digit = first_level_above(law, next(uniform))
                if known is not None:
                    is_known, wanted = (x[:, channel : channel + 1] for x in known)
                    digit = ops.where(is_known, (wanted - level) // unit, digit)
                index = ops.cast(digit, "int32")
                if known is not None:
                    of_digit = ops.take_along_axis(law, index, axis=1)
                    log_prob = log_prob + ops.where(is_known, of_digit, 0.0)[:, 0]
                # 3. Its evidence about the class, at temperature 1.
                exact = log_probs(None) if self.has_temperature else found
                carry = self.after(index, exact, carry)
                level = level + unit * digit
            levels.append(level)
        return ops.concatenate(levels, axis=-1), carry, log_prob

    def law(self, log_probs: Tensor, inputs: Tensors, carry: Tensors) -> Tensor:
        """Returns the log-probabilities `(batch, count)` from which a digit is sampled, nats.

        Those of known digits are the weights of particles.

        Args:
            log_probs: Float tensor `(batch, candidates, count)`, those of the head.
            inputs: See `choose`.
            carry: See `choose`.
        """
        return ops.log_softmax(log_probs[:, 0], axis=-1)

    def after(self, digit: Tensor, log_probs: Tensor, carry: Tensors) -> Tensors:
        """Returns the new `carry` after a digit, int `(batch, 1)`; `log_probs` as for `law`."""
        return carry


@dataclass(frozen=True)
class GuidedSubPixels(SubPixels):
    """Samples sub-pixels that are more typical of the class of an image.

    The probability of level l of a sub-pixel is proportional to

        p(l | y)^(1 + w) q(l)^(-w)  with  q(l) = sum_k softmax(β r)_k p(l | k)

    for the class y, the `guidance` w, the `guidance_logit_scale` β, and the log-likelihood r_k of
    all earlier sub-pixels under class k, `"log_likelihood"` in `carry`. With β = 1, q is that of
    the model's p(x). At a temperature, p(l | y) and p(l | k) are at this temperature; r_k is not.

    With more than `head.levels_at_once` levels, this is the law of each digit: p(l | k) is that of
    a digit given the higher digit, which r_k includes. Because each digit is normalized separately,
    the law of the level is another one than that of guidance on all levels at once.

    Args:
        head, has_temperature: See `SubPixels`.
        num_classes: Integer, number of classes, at least 2.

    Reference:
        Ho & Salimans 2022, Classifier-Free Diffusion Guidance, https://arxiv.org/abs/2207.12598.
        There, w has the same meaning, and q comes from an unconditional model.
    """

    num_classes: int = field(kw_only=True)

    @property
    def candidates(self) -> int:
        return self.num_classes

    def inputs(self, options: SamplingOptions, count: int) -> dict[str, np.ndarray]:
        return super().inputs(options, count) | {
            "guidance": np.full(count, options.guidance, "float32"),
            "guidance_logit_scale": np.full(count, options.guidance_logit_scale, "float32"),
        }

    def values(self, values: Values) -> Values:
        return with_classes(values, all_classes(self.num_classes))

    def first(self, batch_size: int | Tensor) -> Tensors:
        return {"log_likelihood": ops.zeros((batch_size, self.candidates))}

    def law(self, log_probs: Tensor, inputs: Tensors, carry: Tensors) -> Tensor:
        of_class = ops.equal(class_of(inputs["values"]), ops.arange(self.candidates, dtype="int32"))
        of_class = ops.cast(of_class, "float32")[..., None]  # (batch, num_classes, 1)
        scaled = inputs["guidance_logit_scale"] * carry["log_likelihood"]
        weights = ops.log_softmax(scaled, axis=1)
        marginal = ops.logsumexp(weights[..., None] + log_probs, axis=1)
        own = ops.sum(of_class * log_probs, axis=1)  # (batch, count)
        return ops.log_softmax(own + inputs["guidance"] * (own - marginal), axis=-1)

    def after(self, digit: Tensor, log_probs: Tensor, carry: Tensors) -> Tensors:
        # A network that does not use the label has one candidate for all classes.
        of_digit = ops.take_along_axis(log_probs, digit[:, None], axis=2)[..., 0]
        return {**carry, "log_likelihood": carry["log_likelihood"] + of_digit}


def choice_for(model: PixelModel, options: SamplingOptions, by_channel: bool) -> WholePixels:
    """Returns how pixels are chosen. `by_channel` says whether pixels may be known in part."""
    head = model.distribution
    if options.guidance:
        # Likelihoods at temperature 1 are computed only once.
        tempered = options.temperature != 1
        return GuidedSubPixels(head, tempered, num_classes=model.num_classes)
    return SubPixels(head) if by_channel else WholePixels(head)
