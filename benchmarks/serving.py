"""A load test of the exported model behind a real server, on this machine's loopback address.

python benchmarks/soak.py --part requests_served

Clients send batches of different sizes at the same time, good images, bad ones and requests that
are no requests. Every answer is compared with the same endpoint called in this process. Counted are
wrong answers, the server's memory and the time of each request. Needs TensorFlow Serving, or the
extra `serve`.
"""

import base64
import io
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

NAME = "model"
CLIENTS = 8
REQUESTS = 10_000
TIMEOUT = 120
# Their likelihoods depend in the last digits on the batch they are in.
TOLERANCE = 1e-3
# How much the server may grow after the first tenth of the requests.
MAX_GROWTH_MB = 100

BAD_REQUESTS = [
    b"",
    b"[]",
    b"[" * 10_000,
    b'{"instances": 3}',
    b'{"signature_name": "nothing", "instances": [1]}',
    b'{"instances": [[300]]}',
    b'{"signature_name": "classify_bytes", "instances": [{"b64": "?"}]}',
    b'{"signature_name": "sample", "inputs": {"labels": [99], "seed": 0, "temperature": 1}}',
]


class Load:
    """Images, what the endpoint says of them in this process, and requests made of both."""

    def __init__(self, savedmodel, seed):
        from keras_pixelcnnpp.export.saved_model import SavedModelClassifier

        rng = np.random.default_rng(seed)
        self.images = [_image(rng) for _ in range(40)]
        self.images += [b"", b"no image", self.images[0][:-50]]
        self.expected = SavedModelClassifier(savedmodel).classify_bytes(self.images)
        self.encoded = [base64.b64encode(image).decode() for image in self.images]

    def request(self, rng):
        """A request, and which images are in it; `None` if it is bad."""
        if rng.random() < 0.1:
            return rng.choice(BAD_REQUESTS), None
        rows = rng.choices(range(len(self.images)), k=rng.choice([1, 1, 1, 1, 1, 2, 4, 16]))
        instances = [{"b64": self.encoded[row]} for row in rows]
        content = {"signature_name": "classify_bytes", "instances": instances}
        return json.dumps(content).encode(), rows

    def is_right(self, rows, status, answer):
        """Whether an answer is what this process says of the same images."""
        if rows is None:
            return 400 <= status < 500 and bool(answer.get("error"))
        if status != 200 or len(answer["predictions"]) != len(rows):
            return False
        # JSON has no NaN: KServe writes null, TensorFlow Serving NaN.
        return all(
            np.allclose(
                np.array([row[name] for row in answer["predictions"]], "float64"),
                values[rows],
                rtol=TOLERANCE,
                atol=TOLERANCE,
                equal_nan=True,
            )
            for name, values in self.expected.items()
        )


def _image(rng):
    height, width = rng.integers(4, 100, 2)
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype="uint8"))
    buffer = io.BytesIO()
    image.save(buffer, rng.choice(["PNG", "JPEG"]))
    return buffer.getvalue()


class Server:
    """`pixelcnnpp savedmodel serve` in a process of its own."""

    def __init__(self, savedmodel):
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            port = listening.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}/v1/models/{NAME}"
        main = [sys.executable, "-m", "keras_pixelcnnpp.cli", "savedmodel", "serve"]
        self.process = subprocess.Popen(
            [*main, str(savedmodel), "--port", str(port), "--name", NAME],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self):
        end = time.monotonic() + 180
        while time.monotonic() < end and self.process.poll() is None:
            try:
                urllib.request.urlopen(self.address, timeout=5)  # noqa: S310 - loopback
            except OSError:
                time.sleep(0.5)
            else:
                return self
        self.__exit__()
        raise RuntimeError("The server did not start")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def post(self, content):
        """The status and the answer to one request."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.address}:predict", content, headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310 - loopback
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())
        except OSError as error:  # no answer in time, or the connection broke: a wrong answer
            return 0, {"error": str(error)}

    def memory_mb(self):
        """What the server has in memory, on Linux."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024


def serve_requests(seconds, folder, rng):
    """Exports a small model, sends it requests for about `seconds`, and checks every answer."""
    if find_spec("kserve") is None and shutil.which("tensorflow_model_server") is None:
        return {"skipped": "no server is installed: pip install '.[serve]'", "failures": []}
    # Before anything imports Keras, which reads it once; the server inherits it.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    from keras_pixelcnnpp.export.endpoints import export_saved_model
    from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus

    model = PixelCNNPlusPlus((8, 8, 1), 2, filters=8, num_resolutions=1, num_mixtures=2)
    export_saved_model(model, folder / "savedmodel" / "1", ("first", "second"), {})
    load = Load(folder / "savedmodel", rng.randrange(2**31))
    # Both processes start within the time.
    end = time.monotonic() + max(20, seconds - 60)
    with Server(folder / "savedmodel") as server, ThreadPoolExecutor(CLIENTS) as clients:
        return _send(load, server, clients, rng, end)


def _send(load, server, clients, rng, end):
    def send(seed):
        content, rows = load.request(random.Random(seed))  # noqa: S311 - no secrets
        start = time.perf_counter()
        status, answer = server.post(content)
        duration = time.perf_counter() - start
        return duration, status, len(rows or []), load.is_right(rows, status, answer)

    # TensorFlow prepares an endpoint when it is first called: seconds that no later request takes.
    first_seconds = send(0)[0]
    results, memory = [], []
    start = time.monotonic()
    # In portions, between which the memory is measured and the time looked at.
    while len(results) < REQUESTS and time.monotonic() < end:
        results += clients.map(send, [rng.randrange(2**31) for _ in range(REQUESTS // 20)])
        memory.append(server.memory_mb())
    elapsed = time.monotonic() - start
    durations = 1000 * np.array([duration for duration, _, count, _ in results if count])
    wrong = sum(not right for *_, right in results)
    growth = memory[-1] - memory[min(1, len(memory) - 1)]
    failures = [f"{wrong} wrong answers"] if wrong else []
    if growth > MAX_GROWTH_MB:
        failures.append(f"the server's memory grew by {growth:.0f} MB")
    return {
        "requests": len(results),
        "pictures": sum(count for _, _, count, _ in results),
        "statuses": dict(Counter(str(status) for _, status, _, _ in results)),
        "clients": CLIENTS,
        "first_request_seconds": round(first_seconds, 1),
        "requests_per_second": round(len(results) / elapsed, 1),
        "p50_ms": round(float(np.percentile(durations, 50)), 1),
        "p99_ms": round(float(np.percentile(durations, 99)), 1),
        "memory_growth_mb": round(growth, 1),
        "wrong_answers": wrong,
        "failures": failures,
    }
