"""Downloads presets from the Hugging Face Hub, and uploads them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import keras

from keras_pixelcnnpp.recipes.existing import SCHEME
from keras_pixelcnnpp.utils.errors import UserError, invalid_argument, not_installed, one_line

REPOSITORY = "https://github.com/keras-pixelcnnpp/keras-pixelcnnpp"
# The only files that are downloaded, because a repository may contain code.
READ = ("config.json", "metadata.json", "model.weights.h5")


def download(uri: str) -> Path:
    """Downloads a preset, unless it is cached, and returns its folder in the cache.

    `uri` is `"hf://USER/NAME"` or, with a branch, tag or commit, `"hf://USER/NAME@REVISION"`.
    """
    repository, _, revision = uri.removeprefix(SCHEME).partition("@")
    with _hub(uri, "downloaded") as hub:
        folder = hub.snapshot_download(repository, revision=revision or None, allow_patterns=READ)
        return Path(folder)


def upload(uri: str, folder: Path) -> None:
    """Uploads only the files of a preset to a repository, which is created if necessary."""
    if not re.fullmatch(rf"{SCHEME}[^/@]+/[^/@]+", uri):
        raise invalid_argument("uri", uri, f"'{SCHEME}USER/NAME'")
    repository, files = uri.removeprefix(SCHEME), (*READ, "README.md", "samples.png")
    with _hub(uri, "uploaded") as hub:
        hub.create_repo(repository, exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=folder, allow_patterns=files)


@contextmanager
def _hub(uri: str, done: str) -> Iterator[ModuleType]:
    """Context manager that gives `huggingface_hub`, and turns errors into a `UserError`."""
    try:
        import huggingface_hub as hub
        from huggingface_hub.errors import RepositoryNotFoundError
    except ModuleNotFoundError as error:
        raise not_installed(f"The preset {uri}", "huggingface_hub") from error
    try:
        yield hub
    except RepositoryNotFoundError as error:
        raise UserError(f"{uri} does not exist, or you may not read it.") from error
    # Any exception, because network errors have no common base class.
    except Exception as error:
        raise UserError(f"{uri} can't be {done}: {one_line(error.__cause__ or error)}") from error


def card(name: str, model: keras.Model) -> str:
    """Returns the README.md of a new preset, to be completed. The Hub reads its header."""
    compares = model.num_classes > 1
    task = "image-classification" if compares else "unconditional-image-generation"
    return f"""---
library_name: keras
license: unknown
pipeline_tag: {task}
tags: [pixelcnn, image-generation, density-estimation, keras-pixelcnnpp]
---

# {name}

A {type(model).__name__} of [keras-pixelcnnpp]({REPOSITORY})
for images of {"×".join(map(str, model.image_shape))} with {model.num_levels} levels and
{model.conditions.description}.

```python
import keras_pixelcnnpp as kp

model = kp.AutoregressiveModel.from_preset("hf://USER/{name}")
```

To be completed: intended use; training data and their license; the license of the weights (here and
in the header); training procedure; evaluation results.
"""
