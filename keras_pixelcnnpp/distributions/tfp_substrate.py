"""Finds the tensorflow_probability that goes with the Keras backend."""

import importlib

import keras


def import_tfp():
    """Returns tensorflow_probability for the current backend.

    Raises:
        ImportError: Under the torch backend, which tfp does not support, or when tfp is missing.
    """
    backend = keras.backend.backend()
    modules = {
        "tensorflow": "tensorflow_probability",
        "jax": "tensorflow_probability.substrates.jax",
    }
    if backend not in modules:
        raise ImportError(
            "DiscretizedLogisticMixture is a tensorflow_probability distribution, and "
            f"tensorflow_probability has no {backend} backend. The same mathematics is in "
            "keras_pixelcnnpp.distributions.logistic_mixture."
        )
    try:
        return importlib.import_module(modules[backend])
    except ImportError as error:
        raise ImportError(
            f"DiscretizedLogisticMixture needs tensorflow_probability ({error}). Install it with: "
            f"pip install 'keras-pixelcnnpp[{backend}]'"
        ) from error
