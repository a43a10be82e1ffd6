"""Seconds until a network has reached some bits/dim on photographs, against plain Keras.

    python benchmarks/time_to.py --data PICTURES --output benchmarks/results/time_to.json

Each way of training is a process of its own, with the network of the preset `report`, the same
seed and the same batches. *plain* is what a user of Keras writes first: `compile`, `fit`, float32
(without XLA, which trains this network more slowly on a CPU).
The others train as `pixelcnnpp train` does, in float32 and in bfloat16. The clock starts with the
process and stops when the mean bits/dim of the last training steps is below the goal.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

WAYS = {"plain": "float32", "float32": "float32", "mixed_bfloat16": "mixed_bfloat16"}
WINDOW = 50
LEARNING_RATE = 1e-3
MOST_EPOCHS = 20


def train(way, data, goal):
    """What the fresh process does: prints steps and seconds."""
    start = time.perf_counter()
    import keras

    import keras_pixelcnnpp as kp
    from keras_pixelcnnpp.data.batches import ImageSequence, SetEpoch, feed
    from keras_pixelcnnpp.data.load import load_dataset

    if way != "plain":
        kp.keep_freed_memory()
    keras.utils.set_random_seed(0)
    dataset = load_dataset(data, image_size=32)
    split = dataset.split("train").labelled()
    keras.config.set_dtype_policy(WAYS[way])
    model = kp.PixelCNNPlusPlus.from_preset("report", num_classes=dataset.num_classes)
    adam = keras.optimizers.Adam if way == "plain" else kp.FusedAdam
    model.compile(adam(LEARNING_RATE), jit_compile=False)
    if way != "plain":
        model.optimizer.build(model.trainable_variables)

    batches = ImageSequence(
        split.images, split.labels, batch_size=16, num_classes=dataset.num_classes, seed=0
    )
    reached = {}
    callbacks = [keras.callbacks.LambdaCallback(on_train_batch_end=stop_at(goal, model, reached))]
    callbacks.append(SetEpoch(batches))
    fed = batches if way == "plain" else feed(batches)
    model.fit(fed, epochs=MOST_EPOCHS, shuffle=False, verbose=0, callbacks=callbacks)
    if not reached:
        sys.exit(f"{goal} bits/dim not reached within {MOST_EPOCHS} epochs")
    seconds = round(reached["at"] - start, 1)
    print(json.dumps({"steps": int(model.optimizer.iterations.numpy()), "seconds": seconds}))


def stop_at(goal, model, reached):
    """A function of step and logs that stops `fit` when the last steps are below the goal."""
    last = deque(maxlen=WINDOW)
    total = 0.0

    def after_step(step, logs):
        nonlocal total
        before = total if step else 0.0
        total = logs["bits_per_dim"] * (step + 1)  # Keras's logs are means since the epoch began
        last.append(total - before)
        if len(last) == WINDOW and sum(last) / WINDOW <= goal:
            reached["at"] = time.perf_counter()
            model.stop_training = True

    return after_step


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="as for pixelcnnpp train")
    parser.add_argument("--goal", type=float, default=5.0, help="bits/dim")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        train(options.way, options.data, options.goal)
        return

    from keras_pixelcnnpp.backend import machine

    rows = []
    for way in WAYS:
        command = [sys.executable, __file__, "--way", way]
        command += ["--data", options.data, "--goal", str(options.goal)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        rows.append({"name": way, **json.loads(done.stdout.splitlines()[-1])})
        print(rows[-1])
    result = {
        "bits_per_dim": options.goal,
        "window": WINDOW,
        "learning_rate": LEARNING_RATE,
        "machine": machine(),
        "cores": len(os.sched_getaffinity(0)),
        "rows": rows,
    }
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print(f"Wrote {options.output}")


if __name__ == "__main__":
    main()
