import pytest

from keras_pixelcnnpp.conditioning import STRATEGIES, build_conditioning, parse_conditioning

PLACES = ["input", "stem", "hidden", "gate", "bottleneck", "head"]


@pytest.mark.parametrize(
    ("conditioning", "names"),
    [("none", []), ("bias", ["bias"]), ("bias+spatial", ["bias", "spatial"])],
)
def test_parse(conditioning, names):
    assert parse_conditioning(conditioning) == names


@pytest.mark.parametrize("conditioning", ["magic", "", "bias+bias", "none+bias", "bias+", None, 3])
def test_bad_conditioning_names_the_valid_ones(conditioning):
    with pytest.raises(ValueError, match=r"`conditioning`.*one_hot, embedding, bias, film"):
        parse_conditioning(conditioning)


def test_each_strategy_acts_at_one_place():
    everything = "+".join(STRATEGIES)
    layers = {place: build_conditioning(everything, place, 3) for place in PLACES}
    assert sum(len(found) for found in layers.values()) == len(STRATEGIES)
    for place, found in layers.items():
        assert all(layer.place == place for layer in found)


def test_order_is_the_users():
    names = [layer.name for layer in build_conditioning("adaptive_norm+film", "hidden", 3)]
    assert names == ["adaptive_norm_hidden", "film_hidden"]


def test_without_classes_there_is_no_layer():
    assert build_conditioning("bias", "gate", 0) == []


def test_prefix_and_dtype():
    (layer,) = build_conditioning("bias", "gate", 3, prefix="left_", dtype="mixed_bfloat16")
    assert layer.name == "left_bias_gate"
    assert layer.dtype_policy.name == "mixed_bfloat16"
