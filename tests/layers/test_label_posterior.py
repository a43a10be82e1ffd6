import numpy as np
from layer_checks import run
from scipy.special import softmax

from keras_pixelcnnpp.layers.posterior import LabelPosterior

LOG_LIKELIHOOD = np.float32([[-100.0, -102.0, -99.0], [-7.0, -7.5, -8.0]])
CANDIDATES = np.array([[2, 0, 1], [1, 3, 0]])  # 3 is "no label"


def example():
    layer = LabelPosterior(3, initial_logit_scale=0.25)
    run(layer, LOG_LIKELIHOOD, CANDIDATES)
    layer.class_bias.assign([0.1, 0.2, 0.3, 0.4])
    return layer


def test_logits_of_candidates():
    expected = 0.25 * LOG_LIKELIHOOD + [[0.3, 0.1, 0.2], [0.2, 0.4, 0.1]]
    np.testing.assert_allclose(run(example(), LOG_LIKELIHOOD, CANDIDATES), expected, rtol=1e-6)


def test_probabilities_of_all_classes():
    expected = softmax(0.25 * LOG_LIKELIHOOD + [0.1, 0.2, 0.3], axis=1)
    np.testing.assert_allclose(example().probabilities(LOG_LIKELIHOOD), expected, rtol=1e-5)


def test_what_is_trainable():
    def names(**arguments):
        layer = LabelPosterior(3, **arguments)
        layer.build()
        return {variable.name for variable in layer.trainable_variables}

    assert names() == set()
    assert names(learn_logit_scale=True) == {"log_logit_scale"}
    assert names(learn_class_bias=True) == {"class_bias"}
