import io

import keras
import numpy as np
import pytest
import tiny
from PIL import Image

from keras_pixelcnnpp.optimizers import variable_value
from keras_pixelcnnpp.sampling.class_samples import ClassSamples
from keras_pixelcnnpp.train.tensorboard import TensorBoardSamples

pytest.importorskip("tensorflow")
event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
pytestmark = pytest.mark.tensorflow

CLASS_NAMES = ("dark", "grey", "bright")


def written(folder):
    """The pictures in the logs: `{tag: {step: pixels}}`."""
    events = event_accumulator.EventAccumulator(str(folder)).Reload()
    return {
        tag: {
            event.step: np.asarray(Image.open(io.BytesIO(event.tensor_proto.string_val[2])))
            for event in events.Tensors(tag)
        }
        for tag in events.Tags()["tensors"]
    }


def test_averaged_weights_draw_every_second_epoch(tmp_path):
    model = tiny.tiny_model()
    model.compile(keras.optimizers.Adam(0.1, use_ema=True, ema_momentum=0.9))
    split = tiny.tiny_split(24)
    raw = []
    remember = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: raw.append(
            [variable_value(variable) for variable in model.trainable_variables]
        )
    )
    draw = TensorBoardSamples(tmp_path, CLASS_NAMES, every=2, per_class=4)
    data = {"image": split.images, "label": split.labels}
    model.fit(data, epochs=4, verbose=0, callbacks=[draw, remember])
    pictures = written(tmp_path)
    assert {tag: set(steps) for tag, steps in pictures.items()} == {
        f"samples/{name}": {1, 3} for name in CLASS_NAMES
    }

    def drawn_now():
        return ClassSamples.draw(model, CLASS_NAMES, 4).grids()

    # At its end `fit` puts the averaged weights into the model.
    for name, grid in drawn_now().items():
        assert (pictures[f"samples/{name}"][3] == grid[..., 0]).all()
    for variable, value in zip(model.trainable_variables, raw[-1], strict=True):
        variable.assign(value)
    assert any(
        (pictures[f"samples/{name}"][3] != grid[..., 0]).any() for name, grid in drawn_now().items()
    )
