import numpy as np
import pytest
import tiny

from keras_pixelcnnpp.data.batches import ImageSequence
from keras_pixelcnnpp.train.workers import ShardedSequence


def sequence(count, batch_size=8, **arguments):
    split = tiny.tiny_split(count)
    return ImageSequence(
        split.images, split.labels, batch_size=batch_size, num_classes=3, **arguments
    )


def test_shards_together_are_the_batch():
    whole = sequence(24, num_candidates=2, horizontal_flip=True)
    whole.set_epoch(3)
    shards = [ShardedSequence(whole, num_devices=4, shard=i, num_shards=2) for i in range(2)]
    for index in range(len(whole)):
        parts = [shard[index] for shard in shards]
        assert all(len(part) == 1 for part in parts)
        for name, expected in whole[index][0].items():
            together = np.concatenate([part[0][name] for part in parts])
            np.testing.assert_array_equal(together, expected)


@pytest.mark.parametrize("num_shards", [1, 3])
def test_weighted_mean_over_all_rows_is_the_mean_over_the_pictures(num_shards):
    whole = sequence(23, batch_size=9)
    shards = [ShardedSequence(whole, 3, shard, num_shards) for shard in range(num_shards)]
    for index, count in enumerate((9, 9, 5)):
        parts = [shard[index] for shard in shards]
        assert len({len(weights) for _, _, weights in parts}) == 1
        values = np.concatenate([batch["image"][:, 0, 0, 0] for batch, _, _ in parts])
        weights = np.concatenate([weights for _, _, weights in parts])
        assert (weights > 0).sum() == count
        expected = whole[index][0]["image"][:, 0, 0, 0].mean()
        assert np.mean(values * weights.astype(float)) == pytest.approx(expected, rel=1e-6)


def test_fewer_pictures_than_devices():
    batch, _, weights = ShardedSequence(sequence(2, batch_size=8), num_devices=8)[0]
    assert len(batch["image"]) == 8
    np.testing.assert_array_equal(weights, [4, 4, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("wrong", [{"num_shards": 3}, {"num_shards": 2, "shard": 2}])
def test_shards_that_do_not_fit(wrong):
    with pytest.raises(ValueError, match="shard="):
        ShardedSequence(sequence(24), num_devices=4, **wrong)
