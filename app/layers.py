"""Files of the layers that browsers send, so that Gradio does not decode them."""

import threading
from pathlib import Path
from typing import Any

from keras_pixelcnnpp.utils.errors import UserError

MAX_BYTES = 64 << 20  # of all layers; one of a few strokes has a few kilobytes
MAX_LAYERS = 10_000


class Layers:
    """The layers that browsers have painted, as contents of files.

    After each stroke, a browser sends its layer under a new number, and with a request only the
    last number. The oldest layers are dropped, because most are not requested. Gradio's own editor
    keeps all, also the files of the background, and decodes them in every format of Pillow.
    """

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def accept(self, sent: Any) -> None:
        """Keeps the file of the first layer, and ignores all others."""
        facts, files = getattr(sent, "data", None), getattr(sent, "files", None)
        if not (isinstance(facts, dict) and files and facts.get("type") == "layer"):
            return
        if facts.get("index") != "0":
            return
        with self._lock:
            self._contents[str(facts.get("id"))[:64]] = files[0][1]
            while len(self._contents) > MAX_LAYERS or self._num_bytes() > MAX_BYTES:
                self._contents.pop(next(iter(self._contents)))

    def _num_bytes(self) -> int:
        return sum(map(len, self._contents.values()))

    def take(self, value: Any) -> bytes | None:
        """Returns the layer in the value of an editor, or `None` if nothing is painted.

        Programs send the path of an uploaded file instead of a number.
        """
        if value is None:
            return None
        if value.id is not None:
            with self._lock:
                return self._contents.pop(value.id, None)
        if len(value.layers) > 1:
            raise UserError(f"Expected one layer. Received: {len(value.layers)}")
        return Path(value.layers[0].path).read_bytes() if value.layers else None
