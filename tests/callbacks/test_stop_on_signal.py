import os
import signal
import threading

import keras
import numpy as np
import pytest

from keras_pixelcnnpp.callbacks import StopOnSignal
from keras_pixelcnnpp.callbacks.stop_on_signal import TrainingStopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_step_is_finished_epoch_is_not(number):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", loss="mse")
    steps, epochs = [], []
    look = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: batch == 1 and os.kill(os.getpid(), number),
        on_train_batch_end=lambda batch, logs: steps.append(batch),
        on_epoch_end=lambda epoch, logs: epochs.append(epoch),
    )
    before = signal.getsignal(number)
    with pytest.raises(TrainingStopped), StopOnSignal() as stop:
        model.fit(np.ones((8, 1)), np.ones((8, 1)), batch_size=2, verbose=0, callbacks=[look, stop])
    assert steps == [0, 1]
    assert epochs == []
    assert signal.getsignal(number) is before


def test_second_signal_is_not_held_back():
    # Not os.kill: another thread may get it, and two that wait for Python become one.
    with StopOnSignal():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_other_threads_are_left_alone():
    failures = []

    def use():
        try:
            with StopOnSignal():
                pass
        except ValueError as error:
            failures.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert failures == []
