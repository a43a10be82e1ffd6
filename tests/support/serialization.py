"""The check that every registered class passes: all arguments are in the config."""

import inspect

import keras


def check_config(cls, **arguments):
    """Asserts that `arguments` survive the way through the config, and that none is forgotten.

    Args:
        cls: A layer or model class.
        **arguments: A value for every argument of the constructor, unequal to its default.
    """
    parameters = inspect.signature(cls.__init__).parameters
    own = {
        name: parameter.default
        for name, parameter in parameters.items()
        if name != "self" and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
    assert set(arguments) == set(own), "give a value for every argument"
    for name, default in own.items():
        assert arguments[name] != default, f"{name}: choose a value unequal to the default"

    original = cls(**arguments)
    config = original.get_config()
    for name, value in arguments.items():
        assert config[name] == value, name
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(original))
    assert type(restored) is cls
    assert restored.get_config() == config
