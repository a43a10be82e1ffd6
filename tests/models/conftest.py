import numpy as np
import pytest
import tiny


@pytest.fixture(scope="module")
def hybrid():
    """A `PixelCNNPlusPlus` whose logit scale, class biases and weights are not initial values."""
    model = tiny.tiny_model(label_loss_weight=0.7, dropout_rate=0.0)
    model.posterior.log_logit_scale.assign(np.log(0.3))
    model.posterior.class_bias.assign([0.1, -0.2, 0.4])
    return model
