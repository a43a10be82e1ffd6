import pytest
import tiny


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_shape": (4, 4)}, "`image_shape`. Expected three positive integers"),
        ({"image_shape": (0, 4, 1)}, "`image_shape`"),
        ({"image_shape": 4}, "`image_shape`"),
        (
            {"image_shape": (6, 8, 1), "num_resolutions": 3},
            r" 4 divides.*\(4, 8\) or \(8, 12\)",
        ),
        ({"num_classes": -1}, "`num_classes`. Expected an integer of at least 0"),
        ({"num_classes": 2.0}, "`num_classes`"),
        ({"num_classes": True}, "`num_classes`"),
        ({"num_levels": 1}, "`num_levels`. Expected an integer from 2 to 256"),
        ({"num_levels": 257}, "`num_levels`"),
        ({"num_levels": 16.0}, "`num_levels`"),
        ({"filters": 0}, "`filters`. Expected a positive integer"),
        ({"filters": (4, 4)}, "`filters`.*num_resolutions=1"),
        ({"filters": (0,)}, "`filters`"),
        ({"filters": 2.5}, "`filters`"),
        ({"num_blocks": 0}, "`num_blocks`"),
        ({"num_blocks": (1, 2)}, "`num_blocks`.*num_resolutions=1"),
        ({"conditioned_blocks": "down"}, "`conditioned_blocks`. Expected one of: all, up, up_left"),
        ({"num_resolutions": 0}, "`num_resolutions`"),
        ({"num_mixtures": 0}, "`num_mixtures`"),
        ({"conditioning": "magic"}, "`conditioning`.*one_hot, embedding, bias"),
        ({"conditioning": "magic", "num_classes": 0}, "`conditioning`"),
        ({"dropout_rate": 1.0}, r"`dropout_rate`. Expected a number in \[0, 1\)"),
        ({"label_dropout_rate": -0.1}, "`label_dropout_rate`"),
        ({"label_loss_weight": -1}, "`label_loss_weight`"),
        ({"label_loss_weight": "much"}, "`label_loss_weight`"),
        ({"label_loss_weight": float("nan")}, "`label_loss_weight`"),
        ({"initial_temperature": 0}, "`initial_temperature`"),
        ({"initial_temperature": -1.0}, "`initial_temperature`"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny.untrained_model(**arguments)
