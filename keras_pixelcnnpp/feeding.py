"""Batches on their way into `fit` and `predict`."""

import math

import keras


class ArrayBatches(keras.utils.PyDataset):
    """Arrays, cut into batches, in their order.

    Args:
        inputs: Dict of arrays `(count, ...)`.
        batch_size: Integer; the last batch may be smaller.

    Example:

    >>> [len(batch["x"]) for (batch,) in ArrayBatches({"x": np.zeros(5)}, 2)]
    [2, 2, 1]
    """

    def __init__(self, inputs, batch_size):
        super().__init__()
        self.inputs = inputs
        self.batch_size = batch_size

    def __len__(self):
        return math.ceil(len(next(iter(self.inputs.values()))) / self.batch_size)

    def __getitem__(self, index):
        rows = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return ({name: value[rows] for name, value in self.inputs.items()},)


def feed(batches):
    """Returns what to give to Keras, so that its loops end when their work does.

    TensorFlow 2.21 tunes every `tf.data` pipeline, those that Keras makes of arrays and of a
    `PyDataset` included, in a thread that sleeps for 10 ms, 20 ms, 40 ms and so on up to a minute;
    at the end of an epoch, and of `predict`, it waits for that thread to wake. So 5.2 seconds of
    work take 10.3. Under TensorFlow this gives a pipeline that isn't tuned.

    Args:
        batches: A `keras.utils.PyDataset` whose batches are tuples of arrays or of dicts of arrays,
            alike but for their number of rows.

    Returns:
        A `tf.data.Dataset` of the same batches under TensorFlow, which doesn't call their
        `on_epoch_end` (`SetEpoch` does what an `ImageSequence` needs); elsewhere, `batches`.

    Example:

    ```python
    model.predict(feed(ArrayBatches({"image": images}, batch_size=64)))
    ```
    """
    return _tensorflow(batches) if keras.backend.backend() == "tensorflow" else batches


def _tensorflow(batches):
    import tensorflow as tf

    def generate():
        for index in range(len(batches)):
            yield batches[index]

    def any_rows(array):
        return tf.TensorSpec((None, *array.shape[1:]), array.dtype)

    dataset = tf.data.Dataset.from_generator(
        generate, output_signature=keras.tree.map_structure(any_rows, batches[0])
    )
    options = tf.data.Options()
    options.autotune.enabled = False
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(batches)))
    return dataset.prefetch(1).with_options(options)
