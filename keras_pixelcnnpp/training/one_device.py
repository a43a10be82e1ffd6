"""A model that trains where it is."""

from keras_pixelcnnpp.callbacks.stop_on_signal import StopOnSignal
from keras_pixelcnnpp.feeding import feed


class OneDevice:
    """What `DataParallel` is, for a model that trains where it is."""

    is_chief = True
    signals = StopOnSignal.SIGNALS

    def checkpoints(self, checkpoints):
        return checkpoints

    def copy(self, model):
        return model

    def callbacks(self, callbacks, model, copy):
        return list(callbacks)

    def fit(self, copy, batches, **arguments):
        copy.fit(feed(batches), **arguments)

    def hand_back(self, copy, model):
        pass

    def wait(self):
        pass
