"""Four threads use one model concurrently from its first call on."""

import threading

import numpy as np
import tiny

SPLIT = tiny.tiny_split(5)
IMAGES, LABELS = SPLIT.images, SPLIT.labels
CALLS = {
    "sample": lambda model: model.sample(LABELS, seed=0, batch_size=4),
    "log_prob": lambda model: model.log_prob(IMAGES, LABELS),
    "classes": lambda model: model.class_probabilities(IMAGES),
    "evidence": lambda model: model.evidence_map(IMAGES, LABELS, 0),
}


def test_threads_get_what_one_alone_gets():
    alone, model = tiny.tiny_model(), tiny.tiny_model()
    model.set_weights(alone.get_weights())
    start, received = threading.Barrier(4), [{} for _ in range(4)]

    def work(number):
        names = list(CALLS)
        start.wait()
        for name in names[number:] + names[:number]:
            received[number][name] = CALLS[name](model)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, call in CALLS.items():
        expected = call(alone)
        for results in received:
            assert results.keys() == CALLS.keys()
            np.testing.assert_allclose(results[name], expected, rtol=1e-5, atol=1e-5)
