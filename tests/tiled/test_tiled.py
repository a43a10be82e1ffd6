"""Frames larger than the model: exact likelihoods, samples that follow them, and compression."""

import hashlib

import numpy as np
import pytest
import tiny
from enumeration import as_trained, binary_images, chi_square_of_binary, with_weights
from scipy.special import logsumexp

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.distributions.levels import quantize
from keras_pixelcnnpp.utils.errors import UserError

NONE = -1
NETWORKS = [
    (kp.PixelCNNPlusPlus, {"filters": 4, "num_resolutions": 1, "conditioned_blocks": "all"}),
    pytest.param(kp.GatedPixelCNN, {"head": "categorical"}, marks=pytest.mark.once),
]


def binary_model(cls=kp.PixelCNN, filters=8, num_classes=2, **arguments):
    """Creates a model of 2×2 binary images, whose weights do not depend on the backend."""
    options = {"num_blocks": 1, "num_mixtures": 2, "label_loss_weight": 0.0, "filters": filters}
    return with_weights(cls((2, 2, 1), num_classes, num_levels=2, **options, **arguments))


@pytest.mark.parametrize(("cls", "arguments"), NETWORKS)
def test_probabilities_of_all_frames_sum_to_1_and_samples_follow_them(cls, arguments):
    frames, laws = binary_images((2, 4, 1)), {}
    model = as_trained(binary_model(cls, **arguments), 10.0)
    for overlap in (0, 1):
        tiled = kp.TiledModel(model, overlap)
        for label in (0, 1, NONE):
            law = tiled.log_prob(frames, np.full(256, label), 256).astype("float64")
            assert abs(logsumexp(law)) < 1e-5
            maps = tiled.pixel_statistics(frames, np.full(256, label), 0, 256).log_prob
            np.testing.assert_allclose(maps.sum(axis=(1, 2, 3)), law, atol=1e-5)
            pixels = tiled.pixel_log_probs(frames, np.full(256, label), 256)
            np.testing.assert_allclose(pixels, maps[..., 0], atol=1e-5)
            laws[overlap, label] = law
        mean = logsumexp([laws[overlap, 0], laws[overlap, 1]], axis=0) - np.log(2)
        np.testing.assert_allclose(laws[overlap, NONE], mean, atol=1e-5)
        samples = tiled.sample((2, 4), np.full(15_000, NONE), seed=1, batch_size=15_000)
        assert chi_square_of_binary(samples, mean) > 1e-3
        assert chi_square_of_binary(samples, laws[overlap, 1]) < 1e-4
    expected = -mean / (8 * np.log(2))
    np.testing.assert_allclose(tiled.bits_per_dim(frames, batch_size=256), expected, atol=1e-5)


@pytest.mark.once
def test_statistics_are_those_of_the_conditionals():
    """Sums over all frames: surprisals have mean 0 and the variance that the statistics promise."""
    frames, tiled = binary_images((2, 4, 1)), kp.TiledModel(binary_model(), 1)
    for label in (1, NONE):
        found = tiled.pixel_statistics(frames, np.full(256, label), batch_size=100)
        p = np.exp(found.log_prob[..., 0].astype("float64"))  # of the pixel's value, of two
        entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
        np.testing.assert_allclose(found.entropy[..., 0], entropy, atol=1e-5)
        variance = p * (1 - p) * (np.log(p) - np.log(1 - p)) ** 2
        np.testing.assert_allclose(found.variance[..., 0], variance, atol=1e-4)
        pit, dark = found.pit[..., 0], frames[..., 0] == 0
        assert np.all(np.where(dark, pit, 1 - pit) <= p + 1e-6)


@pytest.mark.once
def test_maps_are_the_conditionals_of_pixels():
    """Sums over all frames that agree with one in the earlier pixels, in order of the blocks."""
    frames, tiled = binary_images((3, 3, 1)), kp.TiledModel(binary_model(), 1)
    order = np.concatenate(
        [  # each block is the lower right part of its window
            np.arange(9).reshape(3, 3)[block.inside].ravel()
            for row in tiled.blocks((3, 3))
            for block in row
        ]
    )
    assert order.tolist() != list(range(9))
    values = frames.reshape(512, 9)[:, order]
    for labels in (1, np.arange(512) % 3 - 1):
        found = tiled.pixel_log_probs(frames, labels, 100).reshape(512, 9)[:, order]
        laws = {label: tiled.log_prob(frames, label, 512) for label in (0, 1, NONE)}
        for row in (0, 77, 300, 511):
            law = laws[np.broadcast_to(labels, 512)[row]]
            agree = [
                logsumexp(law[(values[:, :count] == values[row, :count]).all(axis=1)])
                for count in range(10)
            ]
            np.testing.assert_allclose(found[row], np.diff(agree), atol=1e-5)


@pytest.mark.once
def test_samples_below_a_known_part_follow_the_conditional():
    frames = binary_images((4, 2, 1))
    tiled = kp.TiledModel(binary_model(), 1)
    law = tiled.log_prob(frames, np.full(256, NONE), 256).astype("float64")
    given = frames[77]
    law[(frames[:, :2] != given[:2]).any(axis=(1, 2, 3))] = -np.inf
    above = np.repeat(given[None, :2], 4000, axis=0)
    samples = tiled.sample((4, 2), np.full(4000, NONE), 2, batch_size=4000, above=above)
    assert chi_square_of_binary(samples, law - logsumexp(law)) > 1e-3
    with pytest.raises(UserError, match=r"the upper 2, 3, 4 rows, where blocks end"):
        tiled.sample((4, 2), [0], above=given[None, :1])
    with pytest.raises(UserError, match=r"Expected 3 frames"):
        tiled.sample((4, 2), [NONE] * 3, above=given[None, :2])


@pytest.fixture(scope="module")
def model():
    model = tiny.untrained_model(conditioning="embedding")
    rng = np.random.default_rng(0)
    for variable in model.network.trainable_variables:
        variable.assign(0.05 * rng.normal(size=variable.shape) + variable.path.endswith("gain"))
    return model


def random_frames(count, height=9, width=11):
    return np.random.default_rng(3).integers(0, 256, (count, height, width, 1)).astype("uint8")


def test_compression_is_exact_and_the_same_on_every_backend(model):
    frames = quantize(random_frames(3), 5)
    tiled = kp.TiledModel(model, 1)
    data = tiled.compress(frames, [2, 0, 1], names=["a.png", "b.png", "c.png"])
    assert hashlib.sha256(data).hexdigest()[:16] == "cf7f10245a542da8"
    for batch_size in (1, 100):  # the file names the overlap
        back = kp.TiledModel(model, 3).decompress(data, batch_size, verbose=0)
        np.testing.assert_array_equal(back, frames)
    bits = -tiled.log_prob(frames, [2, 0, 1]).sum() / np.log(2)
    assert bits / 8 < len(data) < 1.01 * bits / 8 + 3 * 3 * 5 + 250
    with pytest.raises(UserError, match=r"images of \(9, 11\).*add --tiled"):
        model.decompress(data)


@pytest.mark.once
def test_frames_of_the_size_of_the_model_give_its_numbers(model):
    images, labels = random_frames(5, 4, 4), np.array([2, -1, 0, 1, -1])
    tiled, how = kp.TiledModel(model), {"seed": 3, "guidance": 1.0}
    expected = model.sample(labels, **how)
    np.testing.assert_array_equal(tiled.sample(4, labels, **how), expected)
    assert tiled.compress(images).endswith(model.compress(images)[-20:])


@pytest.mark.once
def test_totals_of_large_frames_are_not_rounded():
    """In float32, -log p of these frames has a spacing of 0.03 nats."""
    options = {"filters": 2, "num_blocks": 1, "num_mixtures": 1, "label_loss_weight": 0.0}
    tiled = kp.TiledModel(kp.PixelCNN((128, 128, 1), num_classes=2, **options), 8)
    frames = random_frames(1, 256, 256)
    maps = [tiled.pixel_statistics(frames, k).log_prob for k in (0, 1)]
    evidence = np.subtract(*(one.sum(dtype="float64") for one in maps))
    scores = tiled.class_log_likelihoods(frames)
    totals = [tiled.log_prob(frames, k) for k in (0, 1)]
    np.testing.assert_allclose(scores[0, 0] - scores[0, 1], evidence, atol=2e-3)
    np.testing.assert_allclose(totals[0] - totals[1], evidence, atol=2e-3)
    assert scores.min() < -(2**18)


@pytest.mark.once
def test_samples_do_not_depend_on_the_batch(model):
    tiled = kp.TiledModel(model)
    frames = tiled.sample((9, 7), [0, 1, -1], seed=4, guidance=1.0)
    assert frames.shape == (3, 9, 7, 1)
    same = tiled.sample((9, 7), [0, 1, -1], seed=4, guidance=1.0, batch_size=2)
    np.testing.assert_array_equal(same, frames)
    assert len(np.unique(frames[:, :4, :4].reshape(3, -1), axis=0)) == 3
    unconditional = kp.TiledModel(binary_model(num_classes=0))
    assert unconditional.sample((3, 5), 2, seed=1).shape == (2, 3, 5, 1)
    with pytest.raises(UserError, match="Expected a class-conditional model"):
        unconditional.class_log_likelihoods(np.zeros((1, 3, 5, 1), "uint8"))


@pytest.mark.once
def test_anomalies_among_frames_of_several_sizes(model):
    """Their features are those of frames of one size; scores take any size."""
    tiled = kp.TiledModel(model)
    sizes = [(9, 11), (7, 6), (4, 4)] * 20
    frames = [tiled.sample(size, 1, seed=seed)[0] for seed, size in enumerate(sizes)]
    detector = kp.AnomalyDetector(tiled, 0.1)
    features = detector.features(frames)
    for first in range(3):
        alone = detector.features(np.stack(frames[first::3]))
        np.testing.assert_allclose(features[first::3], alone, rtol=1e-4, atol=1e-5)
    assert detector.fit(frames).p_values(random_frames(2, 12, 5)).shape == (2,)


@pytest.mark.once
def test_refused(model):
    tiled = kp.TiledModel(model)
    with pytest.raises(UserError, match=r"Resize larger images to 4×4.*TiledModel"):
        model.log_prob(random_frames(1), [0])
    with pytest.raises(UserError, match=r"at least 4×4 pixels.*Received: 3×9"):
        tiled.log_prob(random_frames(1, 3, 9), [0])
    with pytest.raises(UserError, match=r"an integer from 0 to 3\. Received: overlap=4"):
        kp.TiledModel(model, 4)
    for frame in (np.zeros((9, 9), "uint8"), random_frames(1)[0]):
        with pytest.raises(UserError, match=r"shape \(N, height, width, 1\).*frame\[None\]"):
            tiled.bits_per_dim(frame)
    masked = np.ma.masked_greater(random_frames(1, 9, 9), 200)
    with pytest.raises(UserError, match="Score rectangles without"):
        tiled.bits_per_dim(masked)
    with pytest.raises(UserError, match="Expected frames of one size"):
        tiled.log_prob([random_frames(1)[0], random_frames(1, 9, 9)[0]], [0, 0])
    stack = random_frames(20, 20, 9)[..., 0]  # may be (H, W, N)
    with pytest.warns(UserWarning, match=r"read as 20 images, 20 pixels high and 9 wide.*move"):
        kp.AnomalyDetector(tiled).features(stack)
    with pytest.raises(UserError, match="not conditioned on the position"):
        kp.TiledModel(tiny.untrained_model(conditioning="bias+spatial"))
    with pytest.raises(UserError, match="smaller overlap"):
        kp.TiledModel(model, 3).blocks((10**5, 10**5))


#: Conditions of models of 4×4 images with a map, and the values of three frames of 8×6 pixels.
FINE, COARSE = kp.Maps((4, 4, 1), 0, 1), kp.Maps.of_codes((2, 2, 1), 3)
RANDOM = np.random.default_rng(5)
MAPPED = {
    "fine": (FINE, RANDOM.random((3, 8, 6, 1))),
    "coarse codes": (COARSE, RANDOM.integers(0, 3, (3, 4, 3, 1))),
    "joint": ([FINE, kp.Labels(3)], (RANDOM.random((3, 8, 6, 1)), np.array([2, 0, 1]))),
}


@pytest.fixture(scope="module", params=MAPPED)
def mapped(request):
    """A model whose condition has a map, and values of three frames."""
    conditions, values = MAPPED[request.param]
    model = tiny.tiny_model(
        tiny.untrained_pixelcnn, num_classes=None, conditions=conditions, dropout_rate=0.0
    )
    return model, values


def parts_of(values, rows, columns, size=(8, 6)):
    """Returns the part of the maps in values that belongs to a window of 4×4 pixels, by hand."""
    if isinstance(values, tuple):
        return parts_of(values[0], rows, columns), values[1]
    step = size[0] // values.shape[1]
    return values[:, rows // step : (rows + 4) // step, columns // step : (columns + 4) // step]


@pytest.mark.once
def test_each_window_takes_its_part_of_a_map(mapped):
    """The sums over blocks are those of the model for windows that are cut by hand."""
    model, values = mapped
    tiled, frames = kp.TiledModel(model), quantize(random_frames(3, 8, 6), 5)
    expected = np.zeros((3, 8, 6))
    for rows in (0, 2, 4):  # the overlap is 2; later windows replace only their own block
        for columns in (0, 2):
            window = frames[:, rows : rows + 4, columns : columns + 4]
            found = model.pixel_log_probs(window, parts_of(values, rows, columns))
            above, left = 2 * (rows > 0), 2 * (columns > 0)
            block = np.s_[:, rows + above : rows + 4, columns + left : columns + 4]
            expected[block] = found[:, above:, left:]
    found = tiled.pixel_log_probs(frames, values)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    statistics = tiled.pixel_statistics(frames, values)
    np.testing.assert_allclose(statistics.log_prob[..., 0], expected, atol=1e-5)
    bits = -expected.sum(axis=(1, 2)) / (48 * np.log(2))
    np.testing.assert_allclose(tiled.bits_per_dim(frames, values), bits, rtol=1e-5)
    turned = tiny.taken(values, [1, 2, 0])
    assert np.abs(tiled.bits_per_dim(frames, turned) - bits).min() > 1e-4
    if model.num_classes:  # the mean over the classes of all pixels together
        of_classes = [tiled.log_prob(frames, (values[0], np.full(3, k))) for k in range(3)]
        mean = logsumexp(of_classes, axis=0) - np.log(3)
        np.testing.assert_allclose(tiled.log_prob(frames, values[0]), mean, rtol=1e-6)
        scores = tiled.class_log_likelihoods(frames, condition=values[0])
        np.testing.assert_allclose(scores, np.transpose(of_classes), rtol=1e-6)
        maps = tiled.pixel_log_probs(frames, values[0])
        np.testing.assert_allclose(maps.sum(axis=(1, 2)), mean, rtol=1e-5)


@pytest.mark.once
def test_one_window_with_a_map_is_the_model(mapped):
    model, values = mapped
    images, of_images = random_frames(3, 4, 4), parts_of(values, 2, 2)
    tiled = kp.TiledModel(model)
    bits = model.bits_per_dim(images, of_images)
    np.testing.assert_allclose(tiled.bits_per_dim(images, of_images), bits, rtol=1e-5)
    samples = model.sample(of_images, seed=1, verbose=0)
    np.testing.assert_array_equal(tiled.sample(4, of_images, seed=1), samples)


@pytest.mark.once
def test_samples_of_frames_depend_on_the_part_of_the_map_of_their_window(mapped):
    """A sample's first block is that of the model; each window is completed given its own map."""
    model, values = mapped
    tiled, how = kp.TiledModel(model), {"seed": 4, "batch_size": 3}
    frames = tiled.sample((8, 6), values, **how)
    assert frames.shape == (3, 8, 6, 1)
    first = model.sample(parts_of(values, 0, 0), verbose=0, **how)
    np.testing.assert_array_equal(frames[:, :4, :4], first)
    below = tiled.sample((8, 6), values, above=frames[:, :6], **how)
    np.testing.assert_array_equal(below, frames)  # the noise of a block is its own
    maps = values[0] if isinstance(values, tuple) else values
    changed = maps.copy()
    changed[:, -1:] = (maps.max() - maps)[:, -1:]
    given = (changed, values[1]) if isinstance(values, tuple) else changed
    other = tiled.sample((8, 6), given, **how)
    np.testing.assert_array_equal(other[:, :4], frames[:, :4])  # windows above the change
    if model.num_classes:  # the class by Bayes' rule, given the upper part and its map
        assert tiled.sample((8, 6), (maps, None), above=frames[:, :6], **how).shape == other.shape


@pytest.mark.once
def test_maps_that_do_not_fit_windows_are_refused(mapped):
    model, values = mapped
    tiled, frames = kp.TiledModel(model), random_frames(3, 8, 6)
    small = parts_of(values, 0, 0)
    with pytest.raises(UserError, match=r"Compression needs class labels.*maps"):
        tiled.compress(frames)
    with pytest.raises(UserError, match=r"Invalid maps. Expected numbers of shape \(3, "):
        tiled.log_prob(frames, small)
    with pytest.raises(UserError, match=r"Invalid maps. Expected numbers of shape"):
        tiled.sample((8, 6), small)
    if model.conditions.pixel_size((4, 4, 1)) == (2, 2):
        with pytest.raises(UserError, match=r"covers 2×2 pixels.*Received: 8×7"):
            tiled.log_prob(random_frames(3, 8, 7), values)
        with pytest.raises(UserError, match="a multiple of 2, a pixel of the map"):
            kp.TiledModel(model, 1)
