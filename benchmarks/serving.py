"""Load test of an exported model behind a real server, on the loopback address.

    python benchmarks/serving.py --output benchmarks/results/serving.json

Concurrent clients send image files, some of them damaged, and invalid requests. Every answer is
compared with a call of the same endpoint in this process. The script measures wrong answers, the
growth of the server's memory and the time of each request. It needs the extra `serve`.
"""

import base64
import io
import json
import random
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx  # this and psutil come with KServe
import numpy as np
import psutil
import typer
from common import Output, facts, save, show, timed
from PIL import Image

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.export.saved_model import SavedModelClassifier

# The last digits of likelihoods depend on the batch.
TOLERANCE = 1e-3
# Maximum growth of the server's memory after the first twentieth of the requests.
MAX_GROWTH_MB = 100
BAD_REQUESTS = [
    "",
    "[" * 10_000,
    '{"signature_name": "nothing", "instances": [1]}',
    '{"instances": [[300]]}',
    '{"signature_name": "classify_bytes", "instances": [{"b64": "?"}]}',
    '{"signature_name": "sample", "inputs": {"labels": [99], "seed": 0, "temperature": 1}}',
]


def random_image(rng):
    """Returns the bytes of a random image file of random size."""
    height, width = rng.integers(4, 100, 2)
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype="uint8"))
    buffer = io.BytesIO()
    image.save(buffer, rng.choice(["PNG", "JPEG"]))
    return buffer.getvalue()


@contextmanager
def server(savedmodel):
    """Runs `pixelcnnpp serve` in another process; yields a client and the process."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = str(listening.getsockname()[1])
    command = [sys.executable, "-m", "pixelcnnpp", "serve", "--run", savedmodel]
    command += ["--port", port, "--name", "model"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}/v1/models/model"
    try:
        # Wait until the server listens, with increasing pauses, for at most four minutes.
        with httpx.Client(transport=httpx.HTTPTransport(retries=10)) as waiting:
            waiting.get(address)
        with httpx.Client(timeout=120, headers={"Content-Type": "application/json"}) as client:
            yield lambda content: client.post(f"{address}:predict", content=content), process
    finally:
        process.kill()
        process.wait()


def is_right(expected, row, answer):
    """Checks an answer against a row of `expected`; without `row`, it should be an error."""
    if row is None:
        return 400 <= answer.status_code < 500 and bool(answer.json().get("error"))
    if answer.status_code != 200 or len(answer.json()["predictions"]) != 1:
        return False
    received = answer.json()["predictions"][0]
    for name, values in expected.items():
        # KServe writes NaN as null, since JSON has no NaN.
        value = np.array(received[name], "float64")
        if not np.allclose(value, values[row], TOLERANCE, TOLERANCE, equal_nan=True):
            return False
    return True


def measure(model, folder, requests, clients, seed=0):
    """Exports a model to a folder, serves it, sends requests and checks every answer.

    Returns a list with a dict for each number of `clients`, which send `requests` requests in all.
    """
    model.export(folder / "1")
    images = [random_image(np.random.default_rng([seed, index])) for index in range(40)]
    images += [b"", b"no image", images[0][:-50]]
    expected = SavedModelClassifier(folder).classify_bytes(images)
    instances = [{"b64": base64.b64encode(image).decode()} for image in images]

    def send(number):
        rng = random.Random(f"{seed} {number}")  # noqa: S311 - no secrets
        row, content = None, rng.choice(BAD_REQUESTS)
        if rng.random() > 0.1:
            row = rng.randrange(len(images))
            request = {"signature_name": "classify_bytes", "instances": [instances[row]]}
            content = json.dumps(request)
        answer, seconds = timed(lambda: post(content))
        return 1000 * seconds, answer.status_code, is_right(expected, row, answer)

    def load(count, memory):
        numbers = np.array_split(np.arange(requests), 20)
        with ThreadPoolExecutor(count) as pool:
            first, in_use = list(pool.map(send, numbers[0])), memory()
            rest, seconds = timed(lambda: list(pool.map(send, np.concatenate(numbers[1:]))))
        times = [milliseconds for milliseconds, status, _ in rest if status == 200]
        return {
            "clients": count,
            "requests": requests,
            "statuses": Counter(str(status) for _, status, _ in first + rest),
            "images_per_second": round(len(times) / seconds, 1),
            "p50_ms": round(float(np.percentile(times, 50)), 1),
            "p99_ms": round(float(np.percentile(times, 99)), 1),
            "memory_growth_mb": round(memory() - in_use, 1),
            "wrong_answers": sum(not right for *_, right in first + rest),
        }

    with server(folder) as (post, process):
        for content in BAD_REQUESTS:
            post(content)  # TensorFlow initializes an endpoint on its first call
        served = psutil.Process(process.pid)
        return [load(count, lambda: served.memory_info().rss / 2**20) for count in clients]


def main(
    preset: str = "photographs",
    requests: int = 4000,
    clients: str = "1,8,32",
    output: Output = None,
):
    """Serve a preset and send requests; fail if an answer is wrong or the memory grows."""
    model = kp.PixelCNNPlusPlus.from_preset(preset)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(model, Path(folder), requests, [int(count) for count in clients.split(",")])
    show(rows)
    save(facts() | {"preset": preset, "rows": rows}, output)
    sys.exit(any(row["wrong_answers"] or row["memory_growth_mb"] > MAX_GROWTH_MB for row in rows))


if __name__ == "__main__":
    typer.run(main)
