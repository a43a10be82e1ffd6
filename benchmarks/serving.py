"""A load test of the exported model behind a real server, on this machine's loopback address.

python benchmarks/soak.py --part requests_served

Clients send batches of different sizes at the same time, good images, bad ones and requests that
are no requests. Every answer is compared with the same endpoint called in this process. Counted are
wrong answers, the server's memory and the time of each request. Needs Linux and the
extra `serve`.
"""

import base64
import io
import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

CLIENTS = 8
TIMEOUT = 120
# Their likelihoods depend in the last digits on the batch they are in.
TOLERANCE = 1e-3
# How much the server may grow after the first twentieth of the requests.
MAX_GROWTH_MB = 100
BAD_REQUESTS = [
    b"",
    b"[" * 10_000,
    b'{"signature_name": "nothing", "instances": [1]}',
    b'{"instances": [[300]]}',
    b'{"signature_name": "classify_bytes", "instances": [{"b64": "?"}]}',
    b'{"signature_name": "sample", "inputs": {"labels": [99], "seed": 0, "temperature": 1}}',
]


def random_image(rng):
    """The content of an image file of any size."""
    height, width = rng.integers(4, 100, 2)
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype="uint8"))
    buffer = io.BytesIO()
    image.save(buffer, rng.choice(["PNG", "JPEG"]))
    return buffer.getvalue()


@contextmanager
def server(savedmodel):
    """`pixelcnnpp savedmodel serve` in a process of its own: yields the address and the process."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    address = f"http://127.0.0.1:{port}/v1/models/model"
    command = [sys.executable, "-m", "keras_pixelcnnpp.cli", "savedmodel", "serve", savedmodel]
    command += ["--port", port, "--name", "model"]
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 180
        while True:
            try:
                urllib.request.urlopen(address, timeout=5)
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > end:
                    raise
                time.sleep(0.5)
        yield address, process
    finally:
        process.kill()
        process.wait()


def post(address, content):
    """The status and the answer to one request; an answer that doesn't come has the status 0."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}:predict", content, headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())
    except OSError as error:
        return 0, {"error": str(error)}


def is_right(expected, rows, status, answer):
    """Whether an answer is what this process says of the same images; of none, an error."""
    if rows is None:
        return 400 <= status < 500 and bool(answer.get("error"))
    if status != 200 or len(answer["predictions"]) != len(rows):
        return False
    # JSON has no NaN: KServe writes null.
    received = {
        name: np.array([row[name] for row in answer["predictions"]], "float64") for name in expected
    }
    return all(
        np.allclose(received[name], values[rows], TOLERANCE, TOLERANCE, equal_nan=True)
        for name, values in expected.items()
    )


def serve_requests(seconds, folder, rng):
    """`requests_served` of a small model."""
    if find_spec("kserve") is None:
        return {"skipped": "KServe is not installed: pip install '.[serve]'", "failures": []}
    # Before anything imports Keras, which reads it once; the server inherits it.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus

    model = PixelCNNPlusPlus((8, 8, 1), 2, filters=8, num_resolutions=1, num_mixtures=2)
    model.export(folder / "savedmodel" / "1")
    # The processes start within about a minute.
    return requests_served(max(20, seconds - 60), folder / "savedmodel", rng)


def requests_served(seconds, savedmodel, rng, requests=10_000):
    """Sends `requests` requests, or as many as fit into `seconds`, and checks every answer."""
    from keras_pixelcnnpp.export.saved_model import SavedModelClassifier

    generator = np.random.default_rng(rng.randrange(2**31))
    images = [random_image(generator) for _ in range(40)]
    images += [b"", b"no image", images[0][:-50]]
    expected = SavedModelClassifier(savedmodel).classify_bytes(images)
    instances = [{"b64": base64.b64encode(image).decode()} for image in images]

    def send(seed):
        rng = random.Random(seed)  # noqa: S311 - no secrets
        rows, content = None, rng.choice(BAD_REQUESTS)
        if rng.random() > 0.1:
            rows = rng.choices(range(len(images)), k=rng.choice([1, 1, 1, 1, 1, 2, 4, 16]))
            request = {"signature_name": "classify_bytes"}
            request["instances"] = [instances[row] for row in rows]
            content = json.dumps(request).encode()
        start = time.perf_counter()
        status, answer = post(address, content)
        milliseconds = 1000 * (time.perf_counter() - start)
        return milliseconds, status, len(rows or []), is_right(expected, rows, status, answer)

    results, memory = [], []
    with server(savedmodel) as (address, process), ThreadPoolExecutor(CLIENTS) as clients:
        # TensorFlow prepares an endpoint when it is first called.
        send(0)
        end = time.monotonic() + seconds
        # In portions, between which the memory is measured and the time looked at.
        while len(results) < requests and time.monotonic() < end:
            results += clients.map(send, [rng.randrange(2**31) for _ in range(requests // 20)])
            status = Path(f"/proc/{process.pid}/status").read_text()
            memory.append(int(status.split("VmRSS:")[1].split()[0]) / 1024)
    times = [milliseconds for milliseconds, _, count, _ in results if count]
    wrong = sum(not right for *_, right in results)
    growth = memory[-1] - memory[0]
    failures = [f"{wrong} wrong answers"] if wrong else []
    if growth > MAX_GROWTH_MB:
        failures.append(f"the server's memory grew by {growth:.0f} MB")
    return {
        "requests": len(results),
        "images": sum(count for _, _, count, _ in results),
        "statuses": Counter(str(status) for _, status, _, _ in results),
        "clients": CLIENTS,
        "p50_ms": round(float(np.percentile(times, 50)), 1),
        "p99_ms": round(float(np.percentile(times, 99)), 1),
        "memory_growth_mb": round(growth, 1),
        "wrong_answers": wrong,
        "failures": failures,
    }
