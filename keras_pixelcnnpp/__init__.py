"""Conditional PixelCNN++ for Keras 3: generates, classifies and scores pictures."""

import contextlib
import importlib
import importlib.abc
import importlib.util
import sys

__version__ = "0.1.0"

_HOMES = {
    "BaselineCNN": "models.baseline_cnn",
    "DiscretizedLogisticMixture": "distributions.discretized_logistic_mixture",
    "FusedAdam": "optimizers",
    "GatedPixelCNN": "models.pixelcnn",
    "PixelCNN": "models.pixelcnn",
    "PixelCNNClassifier": "classifiers",
    "PixelCNNPlusPlus": "models.pixelcnnpp",
    "SavedModelClassifier": "export.saved_model",
    "WarmUpAgain": "optimizers",
    "WarmUpThenDecay": "optimizers",
    "keep_freed_memory": "memory",
}
_MODULES = (
    "classifiers",
    "codec",
    "conditioning",
    "data",
    "distributions",
    "export",
    "layers",
    "models",
    "optimizers",
    "presets",
    "receptive_field",
    "sampling",
)

__all__ = list(_HOMES)


def __getattr__(name):
    # On demand: Keras and its backend take seconds to import, which `pixelcnnpp --help` need not
    # wait for, and tensorflow_probability isn't there for every backend.
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__():
    return sorted({*globals(), *__all__, *_MODULES})


class _Later:
    """A class of this package as Keras's registry knows it until somebody needs it."""

    def __init__(self, name):
        self.name = name

    def from_config(self, config):
        return __getattr__(self.name).from_config(config)


def _register():
    """Lets `keras.models.load_model` find the classes that archives name."""
    from keras.saving import get_custom_objects

    for name in (
        "BaselineCNN",
        "FusedAdam",
        "GatedPixelCNN",
        "PixelCNN",
        "PixelCNNPlusPlus",
        "WarmUpAgain",
        "WarmUpThenDecay",
    ):
        # The class itself takes this place when it is imported.
        get_custom_objects().setdefault(f"{__name__}>{name}", _Later(name))


@contextlib.contextmanager
def _registering():
    yield
    _register()


class ImportHook(importlib.abc.MetaPathFinder):
    """Executes a module inside a context manager as soon as somebody imports it."""

    def __init__(self, name, context):
        self.name = name
        self.context = context

    def find_spec(self, fullname, path, target=None):
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        sys.meta_path.insert(0, self)  # who asks for it need not import it
        if spec is not None:
            execute = spec.loader.exec_module

            def execute_inside(module):
                sys.meta_path.remove(self)
                with self.context():
                    execute(module)

            spec.loader.exec_module = execute_inside
        return spec


if "keras" in sys.modules:
    _register()
else:
    sys.meta_path.insert(0, ImportHook("keras", _registering))
