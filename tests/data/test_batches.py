import numpy as np
import pytest

from keras_pixelcnnpp.data.batches import ImageBatches, RandomCrops

pytestmark = pytest.mark.once

COUNT, CLASSES = 50, 5
# The first pixel of an image shows which one it is and whether it was flipped.
IMAGES = np.zeros((COUNT, 2, 3, 1), "uint8")
IMAGES[:, 0, 0, 0] = np.arange(COUNT) + 1
LABELS = np.arange(COUNT) % CLASSES


def sequence(**changes):
    given = {"images": IMAGES, "labels": LABELS, "batch_size": 8}
    return ImageBatches(**given | changes)


def collect(batches):
    """Concatenates all batches of an epoch: images, labels and, if present, weights."""
    parts = zip(*(batches[index] for index in range(len(batches))), strict=True)
    return tuple(map(np.concatenate, parts))


def positions(batches):
    return np.concatenate([batches.rows(step) for step in range(len(batches))])


def order(batches):
    return collect(batches)[0].max(axis=(1, 2, 3)).tolist()


def test_every_image_comes_once_with_its_label():
    batches = sequence()
    assert len(batches) == 7
    assert len(batches[6][0]) == 2
    images, labels = collect(batches)
    assert sorted(order(batches)) == list(range(1, COUNT + 1))
    np.testing.assert_array_equal(labels, (images[:, 0, 0, 0] - 1) % CLASSES)
    assert (images.dtype, labels.dtype) == (np.uint8, np.int32)
    weighted = sequence(sample_weight=np.arange(COUNT) / 2)
    images, _, weights = collect(weighted)
    np.testing.assert_array_equal(weights, (images[:, 0, 0, 0] - 1) / 2)


def test_vectors_and_maps_are_finite():
    maps = np.zeros((COUNT, 2, 3, 1))
    maps[7, 1, 2] = np.nan
    for wrong in (maps, maps[:, 1, 2], np.ma.masked_invalid(maps), maps + np.inf):
        with pytest.raises(ValueError, match="`labels`"):
            sequence(labels=wrong)


@pytest.mark.parametrize(
    "wrong", [np.array([2**32 + 1, 0]), np.array([[0.5], [1.5]], dtype="object"), ["a", "b"]]
)
def test_labels_that_are_no_integers_of_32_bits_are_refused(wrong):
    with pytest.raises(ValueError, match="labels"):
        ImageBatches(np.zeros((2, 3, 3, 1), "uint8"), wrong, batch_size=2)


def test_order_depends_on_seed_and_epoch_only():
    batches = sequence(seed=3)
    first = order(batches)
    batches.on_epoch_end()
    second = order(batches)
    assert first != second
    resumed = sequence(seed=3)
    resumed.set_epoch(1)
    assert order(resumed) == second
    resumed.set_epoch(0)
    assert order(resumed) == first
    assert order(sequence(seed=4)) != first
    # Additional random numbers of another kind change nothing.
    assert order(sequence(seed=3, horizontal_flip=True)) == first


def test_half_of_the_images_are_mirrored():
    batches = sequence(horizontal_flip=True)
    flipped = []
    for epoch in range(40):
        batches.set_epoch(epoch)
        images, original = collect(batches)[0], IMAGES[positions(batches)]
        mirrored = images[:, 0, 2, 0] > 0
        np.testing.assert_array_equal(images[mirrored], original[mirrored, :, ::-1])
        np.testing.assert_array_equal(images[~mirrored], original[~mirrored])
        flipped.append(mirrored)
    # Five standard deviations of 2000 coin flips are 0.056.
    assert np.mean(flipped) == pytest.approx(0.5, abs=0.056)


def test_half_of_the_images_are_crops_of_the_larger_ones(rng):
    larger = rng.integers(100, 256, (COUNT, 4, 4, 1)).astype("uint8")
    batches = sequence(larger_images=larger)
    cropped, places = [], np.zeros((3, 2))
    for epoch in range(40):
        batches.set_epoch(epoch)
        for row, image in zip(positions(batches), collect(batches)[0], strict=True):
            cropped.append(not np.array_equal(image, IMAGES[row]))
            if cropped[-1]:
                matches = [
                    (top, left)
                    for top, left in np.ndindex(3, 2)
                    if np.array_equal(image, larger[row, top : top + 2, left : left + 3])
                ]
                assert len(matches) == 1
                places[matches[0]] += 1
    # Five standard deviations of 2000 coin flips and of 1000 dice.
    assert np.mean(cropped) == pytest.approx(0.5, abs=0.056)
    np.testing.assert_allclose(places / places.sum(), 1 / 6, atol=0.06)
    # The random numbers are independent of the order.
    shuffled = collect(sequence(larger_images=larger, seed=3))
    np.testing.assert_array_equal(shuffled[1], collect(sequence(seed=3))[1])


def test_random_crops_are_parts_of_their_frames(rng, tmp_path):
    frames = [rng.integers(0, 256, (size, 9, 1)).astype("uint8") for size in (4, 7, 12)]
    crops = RandomCrops(frames, (4, 3), [5, 6, 7], batch_size=4, seed=1)
    images, labels = collect(crops)
    assert np.bincount(labels)[5:].tolist() == [3, 3, 9]  # as many as fit side by side
    corners = set()
    for image, label in zip(images, labels, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(frames[label - 5][..., 0], (4, 3))
        place = np.argwhere((windows == image[..., 0]).all(axis=(2, 3)))
        assert len(place) == 1
        corners.add((label, *place[0].tolist()))
    assert len(corners) > 10
    np.testing.assert_array_equal(positions(crops), labels - 5)
    np.testing.assert_array_equal(collect(crops.from_step(2))[0], images[8:])
    crops.set_epoch(1)
    assert (collect(crops)[0] != images).any()
    # Frames in a file are read when they are needed.
    np.save(tmp_path / "frames.npy", np.stack([frames[0]] * 3))
    stored = np.load(tmp_path / "frames.npy", mmap_mode="r")
    images, labels = RandomCrops(stored, 4, batch_size=4, horizontal_flip=True)[0]
    assert (images.shape, images.dtype, labels.tolist()) == ((4, 4, 4, 1), np.uint8, [-1] * 4)
    with pytest.raises(ValueError, match=r"at least \(5, 5\).*Received: \(4, 9, 1\)"):
        RandomCrops(frames, 5, batch_size=4)


def test_gray_frames_need_no_channel_axis(rng):
    frames = rng.integers(0, 256, (3, 9, 9)).astype("uint8")
    expected = collect(RandomCrops(frames[..., None], 4, batch_size=4))[0]
    for given in (frames, list(frames)):
        np.testing.assert_array_equal(collect(RandomCrops(given, 4, batch_size=4))[0], expected)
    assert ImageBatches(frames, [0, 1, 2], batch_size=2)[0][0].shape == (2, 9, 9, 1)


def test_frames_of_no_model_are_refused_when_the_batches_are_made():
    """Otherwise, the loss would be NaN in the batch that contains them."""
    bad = np.full((3, 9, 9, 1), 4095, "uint16")
    bad[1, 2, 3] = 65535
    masked = np.ma.masked_greater(np.full((3, 9, 9, 1), 255, "uint8"), 99)
    for frames, message in ((bad, "from 0 to 4095"), (masked, "masked"), (list(masked), "masked")):
        with pytest.raises(ValueError, match=message):
            RandomCrops(frames, 4, batch_size=2)
