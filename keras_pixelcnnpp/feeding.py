"""Batches on their way into `fit` and `predict`."""

import keras


def feed(batches):
    """Returns what to give to Keras, so that its loops end when their work does.

    TensorFlow 2.21 tunes every `tf.data` pipeline, those that Keras makes of arrays and of a
    `PyDataset` included, in a thread that sleeps for 10 ms, 20 ms, 40 ms and so on up to a minute;
    at the end of an epoch, and of `predict`, it waits for that thread to wake. So 5.2 seconds of
    work take 10.3. Under TensorFlow this gives a pipeline that isn't tuned, as Keras itself does
    where a `PyDataset` has several workers.

    Args:
        batches: A `keras.utils.PyDataset` whose batches are tuples of arrays or of dicts of arrays,
            alike but for their number of rows.

    Returns:
        A `tf.data.Dataset` of the same batches under TensorFlow, which doesn't call their
        `on_epoch_begin` and `on_epoch_end` (`SetEpoch` does what an `ImageSequence` needs);
        elsewhere, and where they have several workers, `batches`.

    Example:

    ```python
    model.predict(feed(ArrayBatches({"image": images}, batch_size=64)))
    ```
    """
    if keras.backend.backend() != "tensorflow" or batches.workers > 1:
        return batches
    return _tensorflow(batches)


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
