"""Parts of the loss of a model of the family: candidates for a label, mean, metrics."""

import keras
from keras import ops


def choose_candidates(labels, count, num_classes, seed_generator):
    """Returns each label and `count - 1` different others, at random unless they are all classes.

    Args:
        labels: Int tensor `(batch,)`, from 0 to `num_classes - 1`.
        count: Integer, how many candidates an image has.
        num_classes: Integer.
        seed_generator: `keras.random.SeedGenerator`.

    Returns:
        Int tensor `(batch, count)`, the label itself first.
    """
    true = labels[:, None]
    if count == num_classes:
        others = (true + ops.arange(1, count, dtype="int32")) % count
    else:
        scores = keras.random.uniform((ops.shape(true)[0], num_classes), seed=seed_generator)
        scores = ops.where(true == ops.arange(num_classes, dtype="int32"), -1.0, scores)
        others = ops.cast(ops.top_k(scores, count - 1)[1], "int32")
    return ops.concatenate([true, others], axis=1)


class MeanOverBatch(keras.losses.Loss):
    """The mean of `y_pred`, losses that are computed already, one per image.

    Under `tf.distribute` each replica has a part of the batch and the gradients of all are summed;
    `keras.losses.Loss` divides by the number of replicas, `ops.mean` does not. Weighted losses are
    divided by the number of images, not by the sum of the weights.
    """

    def call(self, y_true, y_pred):
        return y_pred


class MeanMetric(keras.metrics.Mean):
    """`keras.metrics.Mean`, but NaN instead of 0 where no value was given."""

    def result(self):
        return ops.where(self.count > 0, super().result(), float("nan"))
