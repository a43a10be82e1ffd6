import keras
import numpy as np
import pytest
from keras import ops

from keras_pixelcnnpp.data.batches import ImageBatches
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN, RandomShift

SMALL = {
    "image_shape": (8, 8, 1),
    "num_classes": 3,
    "filters": (4, 8),
    "num_blocks": 1,
}


def data(count=24):
    """Images of horizontal stripes, vertical stripes and squares of random brightness."""
    rng = np.random.default_rng(0)
    labels = np.arange(count, dtype="int32") % 3
    across, down = np.meshgrid([0, 1] * 4, [0, 1] * 4, indexing="ij")
    patterns = np.stack([across, down, across ^ down])[labels]
    images = rng.integers(0, 100, (count, 1, 1)) + rng.integers(50, 150, (count, 1, 1)) * patterns
    return images[..., None].astype("uint8"), labels


@pytest.fixture
def model():
    model = BaselineCNN(**SMALL)
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    return model


def test_learns_from_arrays_and_batches_and_comes_back(model, tmp_path):
    images, labels = data()
    batches = ImageBatches(images, labels, batch_size=8)
    model.fit(batches, epochs=15, shuffle=False, verbose=0)
    history = model.fit(
        images, labels, epochs=15, batch_size=8, verbose=0, validation_data=(images, labels)
    )
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert model.evaluate(batches, verbose=0, return_dict=True)["accuracy"] > 0.9
    model.save(tmp_path / "baseline.keras")
    loaded = keras.models.load_model(tmp_path / "baseline.keras")
    np.testing.assert_array_equal(
        loaded.class_probabilities(images), model.class_probabilities(images)
    )


@pytest.mark.once
@pytest.mark.parametrize("loss", [None, "sparse_categorical_crossentropy"])
def test_evaluate_reports_accuracy_and_cross_entropy_of_the_probabilities(model, loss):
    """Also if they are compiled as those of any classifier of Keras."""
    images, labels = data()
    if loss:
        model.compile("adam", loss=loss, metrics=["accuracy"])
        assert set(model.fit(images, labels, verbose=0).history) == {"loss", "accuracy"}
    probabilities = model.class_probabilities(images)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(ops.convert_to_numpy(model(images)), probabilities, rtol=1e-5)
    # Positional arguments of Keras; 10 images in batches of 5.
    np.testing.assert_allclose(model.predict(images, 5, 0, 2), probabilities[:10], rtol=1e-5)
    result = model.evaluate(images, labels, verbose=0, return_dict=True)
    cross_entropy = -np.log(probabilities[np.arange(24), labels]).mean()
    assert result["loss"] == pytest.approx(cross_entropy, rel=1e-4)
    assert result["accuracy"] == pytest.approx((probabilities.argmax(axis=1) == labels).mean())
    assert model.evaluate(images, labels, sample_weight=np.zeros(24), verbose=0)[0] == 0


@pytest.mark.once
def test_label_smoothing_is_the_textbook_one():
    images, labels = data(6)
    model = BaselineCNN(**SMALL, label_smoothing=0.3)
    model.compile("adam")
    logits = np.random.default_rng(1).normal(size=(6, 3)).astype("float32")
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -0.7 * log_p[np.arange(6), labels] - 0.3 * log_p.mean(axis=1)
    loss = model.compute_loss(images, labels, ops.softmax(logits), training=True)
    assert float(loss) == pytest.approx(expected.mean(), rel=1e-5)


def compute_dtypes(model):
    """Returns the compute dtypes of all layers except the softmax."""
    layers = model._flatten_layers(include_self=False)
    return {layer.compute_dtype for layer in layers if layer is not model.probabilities}


@pytest.mark.once
@pytest.mark.parametrize("by_argument", [True, False])
def test_half_precision_is_that_of_all_layers_but_the_softmax(by_argument, tmp_path):
    images, _ = data(6)
    options = {**SMALL, "horizontal_flip": True}
    if by_argument:
        model = BaselineCNN(**options, dtype="mixed_bfloat16")
    else:
        keras.config.set_dtype_policy("mixed_bfloat16")
        model = BaselineCNN(**options)
    # The global policy differs from that of the model, which its file must restore.
    keras.config.set_dtype_policy("float32" if by_argument else "float16")
    model.save(tmp_path / "baseline.keras")
    loaded = keras.models.load_model(tmp_path / "baseline.keras")
    for each in (model, loaded):
        assert compute_dtypes(each) == {"bfloat16"}
        assert keras.backend.standardize_dtype(each.features(images).dtype) == "bfloat16"
        assert keras.backend.standardize_dtype(each(images).dtype) == "float32"
        assert {weight.dtype for weight in each.trainable_weights} == {"float32"}
    np.testing.assert_array_equal(
        loaded.class_probabilities(images), model.class_probabilities(images)
    )


@pytest.mark.once
@pytest.mark.parametrize(
    ("image_shape", "filters", "widths"),
    [
        ((64, 16, 3), 24, (24, 96, 192)),
        ((64, 15, 3), 24, (24, 96)),
        ((2, 2, 1), 4, (4,)),
        ((8, 8, 1), [4, 6, 8], (4, 6, 8)),
    ],
)
def test_stages_fit_the_image_or_are_given(image_shape, filters, widths):
    model = BaselineCNN(image_shape, 2, filters=filters, num_blocks=1)
    assert model.widths == BaselineCNN.from_config(model.get_config()).widths == widths


def shifted(image, down, right):
    """Shifts an image in NumPy, and repeats its border."""
    height, width, _ = image.shape
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    return image[rows][:, columns]


def test_each_image_is_shifted_by_whole_pixels(rng):
    images = rng.random((64, 8, 16, 2), dtype="float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(RandomShift(0.5)(images)), images)
    moved = ops.convert_to_numpy(RandomShift(0.125, seed=1)(images, training=True))
    found = set()
    for image, result in zip(images, moved, strict=True):
        (shift,) = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-3, 4)
            if np.array_equal(shifted(image, down, right), result)
        ]
        found.add(shift)
    # Shifts of at most an eighth of 8 and 16 pixels: 1 and 2 in each direction.
    assert found <= {(down, right) for down in range(-1, 2) for right in range(-2, 3)}
    assert len(found) > 8
