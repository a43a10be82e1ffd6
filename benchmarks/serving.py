"""A load test of the exported model behind a real server, on this machine's loopback address.

python benchmarks/serving.py --savedmodel runs/demo/savedmodel --output serving.json

Clients send batches of different sizes at the same time, good pictures, bad ones and requests that
are no requests. Every answer is compared with the same endpoint called in this process. Counted are
wrong answers, the server's memory and the time of each request. Needs TensorFlow Serving, or the
extra `serve`.
"""

import argparse
import base64
import io
import json
import math
import os
import platform
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
_TIMEOUT = 120
# Their likelihoods depend in the last digits on the batch they are in.
TOLERANCE = 1e-3
# How much the server may grow after the first tenth of the requests.
MAX_GROWTH_MB = 100

BAD_REQUESTS = [
    b"",
    b"{",
    b"[]",
    b"[" * 10_000,
    b'{"instances": []}',
    b'{"instances": 3}',
    b'{"signature_name": "nothing", "instances": [1]}',
    b'{"instances": [[300]]}',
    b'{"instances": [{"b64": "AAAA"}]}',
    b'{"signature_name": "classify_bytes", "instances": ["text"]}',
    b'{"signature_name": "classify_bytes", "instances": [{"b64": "?"}]}',
    b'{"signature_name": "sample", "inputs": {"labels": [99], "seed": 0, "temperature": 1}}',
]


class Load:
    """Pictures, what the endpoint says of them in this process, and requests made of both."""

    def __init__(self, savedmodel: Path, seed: int):
        from keras_pixelcnnpp.export.saved_model import SavedModelClassifier

        rng = np.random.default_rng(seed)
        self.pictures = [_picture(rng) for _ in range(40)] + _bad_pictures(rng)
        self.expected = SavedModelClassifier(savedmodel).classify_bytes(self.pictures)
        self.encoded = [base64.b64encode(picture).decode() for picture in self.pictures]

    def request(self, rng: random.Random) -> tuple[bytes, list[int] | None]:
        """A request, and which pictures are in it; `None` if it is bad."""
        if rng.random() < 0.1:
            return rng.choice(BAD_REQUESTS), None
        rows = rng.choices(range(len(self.pictures)), k=rng.choice([1, 1, 1, 1, 1, 2, 4, 16]))
        instances = [{"b64": self.encoded[row]} for row in rows]
        content = {"signature_name": "classify_bytes", "instances": instances}
        return json.dumps(content).encode(), rows

    def is_right(self, rows: list[int] | None, status: int, answer: dict) -> bool:
        """Whether an answer is what this process says of the same pictures."""
        if rows is None:
            return 400 <= status < 500 and bool(answer.get("error"))
        if status != 200 or len(answer["predictions"]) != len(rows):
            return False
        return all(
            _is_close(prediction[name], values[row])
            for row, prediction in zip(rows, answer["predictions"], strict=True)
            for name, values in self.expected.items()
        )


def _is_close(received, expected) -> bool:
    # JSON has no NaN: KServe writes null, TensorFlow Serving NaN.
    received = np.array(received, dtype="float64")
    return np.allclose(received, expected, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


def _picture(rng) -> bytes:
    height, width = rng.integers(4, 100, 2)
    shape = [(height, width), (height, width, 3), (height, width, 4)][rng.integers(3)]
    image = Image.fromarray(rng.integers(0, 256, shape, dtype="uint8"))
    return _encoded(image, "PNG")


def _encoded(image, kind) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def _bad_pictures(rng) -> list[bytes]:
    png, jpeg = _picture(rng), _encoded(Image.new("RGB", (64, 64), "red"), "JPEG")
    huge = png[:16] + b"\0\0\xff\xff\0\0\xff\xff" + png[24:]
    return [b"", b"no picture", png[: len(png) // 2], jpeg[:-50], huge]


class Server:
    """`pixelcnnpp savedmodel serve` in a process of its own."""

    def __init__(self, savedmodel: Path):
        self.port = _free_port()
        main = [sys.executable, "-m", "keras_pixelcnnpp.cli", "savedmodel", "serve"]
        options = ["--port", str(self.port), "--name", NAME]
        self._process = subprocess.Popen(
            [*main, str(savedmodel), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        )

    def __enter__(self):
        end = time.monotonic() + 180
        while time.monotonic() < end and self._process.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v1/models/{NAME}", timeout=5)
            except OSError:
                time.sleep(0.5)
            else:
                return self
        self.__exit__()
        raise RuntimeError("The server did not start")

    def __exit__(self, *_):
        self._process.terminate()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def post(self, content: bytes) -> tuple[int, dict]:
        """The status and the answer to one request."""
        address = f"http://127.0.0.1:{self.port}/v1/models/{NAME}:predict"
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(address, content, headers)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310 - loopback
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())
        except OSError as error:  # no answer in time, or the connection broke: a wrong answer
            return 0, {"error": str(error)}

    def memory_mb(self) -> float:
        """What the server has in memory; NaN where there is no /proc."""
        status = Path(f"/proc/{self._process.pid}/status")
        if not status.exists():
            return math.nan
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def requests_served(
    seconds: float, savedmodel: Path, rng: random.Random, requests: int = 10_000
) -> dict:
    """Sends `requests` requests, or as many as fit into `seconds`, and checks every answer."""
    load = Load(savedmodel, rng.randrange(2**31))
    end = time.monotonic() + seconds
    with Server(savedmodel) as server, ThreadPoolExecutor(CLIENTS) as clients:
        figures = _run(load, server, clients, rng, requests, end)
        # Also at the end: a server that answers nonsense by then, or not at all, has failed.
        content, rows = load.request(random.Random(0))  # noqa: S311 - no secrets
        if not load.is_right(rows, *server.post(content)):
            figures["failures"].append("wrong answer after the load")
    return figures


def serve_requests(seconds: float, folder: Path, rng: random.Random) -> dict:
    """`requests_served` of a small model, for `benchmarks/soak.py`."""
    if find_spec("kserve") is None and shutil.which("tensorflow_model_server") is None:
        return {"skipped": "no server is installed: pip install '.[serve]'", "failures": []}
    # Before anything imports Keras, which reads it once.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    from keras_pixelcnnpp.export.endpoints import export_saved_model
    from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus

    model = PixelCNNPlusPlus((8, 8, 1), 2, filters=8, num_resolutions=1, num_mixtures=2)
    export_saved_model(model, folder / "savedmodel" / "1", ("first", "second"), {})
    # Both processes start within the time.
    return requests_served(max(20, seconds - 60), folder / "savedmodel", rng)


def _run(load, server, clients, rng, requests, end) -> dict:
    def send(seed):
        content, rows = load.request(random.Random(seed))  # noqa: S311 - no secrets
        start = time.perf_counter()
        status, answer = server.post(content)
        duration = time.perf_counter() - start
        is_right = load.is_right(rows, status, answer)
        return duration, status, len(rows or []), is_right

    # TensorFlow prepares an endpoint when it is first called: seconds that no later request takes.
    start = time.monotonic()
    send(0)
    first_seconds = time.monotonic() - start
    results, memory = [], []
    start = time.monotonic()
    # In portions, between which the memory is measured and the time looked at.
    portion = max(CLIENTS, requests // 20)
    while len(results) < requests and time.monotonic() < end:
        seeds = [rng.randrange(2**31) for _ in range(min(portion, requests - len(results)))]
        results += clients.map(send, seeds)
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
        "seconds": round(elapsed, 1),
        "requests_per_second": round(len(results) / elapsed, 1),
        "p50_ms": round(float(np.percentile(durations, 50)), 1),
        "p99_ms": round(float(np.percentile(durations, 99)), 1),
        "memory_mb": [round(value) for value in memory] if memory[0] > 0 else None,
        "memory_growth_mb": round(growth, 1) if memory[0] > 0 else None,
        "wrong_answers": wrong,
        "failures": failures,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--savedmodel", type=Path, default=Path("runs/demo/savedmodel"))
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=3, help="stop after this time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    rng = random.Random(options.seed)  # noqa: S311 - no secrets
    result = {
        "seed": options.seed,
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        **requests_served(60 * options.minutes, options.savedmodel, rng, options.requests),
    }
    print(json.dumps(result, indent=2))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=2) + "\n")
    if result["failures"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
