import json

import numpy as np
import parts
import pytest

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.export.saved_model import sample_exported
from keras_pixelcnnpp.savedmodel.jobs import SamplingJob
from keras_pixelcnnpp.savedmodel.parts import write_parts

pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow

OPTIONS = ("--label", "bright", "--label", "dark", "--count", 5, "--seed", 3, "--batch-size", 4)
LABELS = [2] * 5 + [0] * 5


@pytest.fixture
def draw(exported):
    """Draws pictures, or goes on with it; returns which blocks were done."""

    def draw(output, labels=LABELS, **options):
        options = {"seed": 3, "batch_size": 4, **options}
        job = SamplingJob(labels, output, exported, **options)
        done = list(write_parts(job, job.start(), exported))
        job.finish()
        return done

    return draw


def pictures(output):
    """The pictures of all parts: bytes by name."""
    found = [(path.name, path.read_bytes()) for path in output.glob("part-*/*.png")]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_are_those_of_the_command_without_parts(pixelcnnpp, savedmodel, tmp_path):
    command = ("savedmodel", "sample", savedmodel, *OPTIONS, "--output")
    assert pixelcnnpp(*command, tmp_path / "together")[0] == 0
    output = tmp_path / "parts"
    status, out, _ = pixelcnnpp(*command, output, "--workers", 1)
    assert status == 0
    assert f"Wrote 10 pictures to {output}, in 3 parts" in out
    assert pictures(output) == parts.contents(tmp_path / "together")
    assert len(list(output.glob("part-00002/*"))) == 2
    summary = json.loads((output / "summary.json").read_text())
    assert summary == {"pictures": 10, "classes": {"dark": 5, "grey": 0, "bright": 5}}


def test_names_of_mixed_labels(exported, tmp_path):
    """The files that `ClassSamples.write` would write, cut where the batches are."""
    labels = np.array([2, 0, 2, 2, 0, 1, 2])
    samples = sample_exported(exported, labels, seed=1, batch_size=3)
    samples.write(tmp_path / "together")
    job = SamplingJob(labels, tmp_path / "parts", exported, seed=1, batch_size=3)
    for block in reversed(job.start()):
        job.run(exported, block)
    assert pictures(job.output) == parts.contents(tmp_path / "together")


def test_goes_on_after_lost_and_torn_parts(draw, tmp_path):
    output = tmp_path / "parts"
    assert draw(output) == [0, 1, 2]
    finished = parts.contents(output)
    (output / "part-00000" / "bright_image_02.png").unlink()
    torn = output / "part-00002" / "dark_image_05.png"
    torn.write_bytes(torn.read_bytes()[:-3])
    kept = parts.unchanged(output)
    assert draw(output) == [0, 2]
    assert parts.contents(output) == finished
    same = {name for name, facts in parts.unchanged(output).items() if kept.get(name) == facts}
    assert same == {name for name in finished if name.startswith("part-00001/")}


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"seed": 4}, "seed"),
        ({"temperature": 0.5}, "temperature"),
        ({"labels": [0] * 10}, "labels"),
        ({"batch_size": 5}, "batch_size"),
    ],
)
def test_other_inputs_are_refused(draw, tmp_path, options, name):
    draw(tmp_path / "parts")
    finished = parts.contents(tmp_path / "parts")
    with pytest.raises(UserError, match=rf"\({name}\): choose another folder"):
        draw(tmp_path / "parts", **options)
    assert parts.contents(tmp_path / "parts") == finished


def test_pictures_without_parts_are_not_mixed_in(exported, draw, tmp_path):
    sample_exported(exported, [0, 1]).write(tmp_path / "samples")
    with pytest.raises(UserError, match=r"no job\.json"):
        draw(tmp_path / "samples")
