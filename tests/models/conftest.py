import numpy as np
import pytest
import tiny


@pytest.fixture(scope="session")
def model():
    """A `PixelCNNPlusPlus` with random weights, for tests that leave it as it is."""
    return tiny.random_model()


@pytest.fixture(scope="session")
def hybrid():
    """The same with a logit scale and class biases that aren't 1 and 0."""
    model = tiny.random_model(label_loss_weight=0.7, dropout_rate=0.0)
    model.posterior.log_logit_scale.assign(np.log(0.3))
    model.posterior.class_bias.assign([0.1, -0.2, 0.4, 0.0])
    return model
