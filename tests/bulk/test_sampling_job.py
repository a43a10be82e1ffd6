import json

import numpy as np
import parts
import pytest
from command_line import one_line

from keras_pixelcnnpp.bulk import SamplingJob
from keras_pixelcnnpp.generation import sample_exported

pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow

OPTIONS = ("--label", "bright", "--label", "dark", "--count", 5, "--seed", 3, "--batch-size", 4)


@pytest.fixture
def command(savedmodel, tmp_path):
    """The command, and the folder it writes to."""
    output = tmp_path / "parts"
    arguments = ("savedmodel", "sample", savedmodel, "--output", output, "--workers", 1)
    return (*arguments, *OPTIONS), output


def pictures(output):
    """The pictures of all parts: bytes by name."""
    found = [(path.name, path.read_bytes()) for path in output.glob("part-*/*.png")]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_are_those_of_the_command_without_parts(pixelcnnpp, savedmodel, command, tmp_path):
    together = tmp_path / "together"
    assert pixelcnnpp("savedmodel", "sample", savedmodel, "--output", together, *OPTIONS)[0] == 0
    status, out, _ = pixelcnnpp(*command[0])
    assert status == 0
    assert f"Wrote 10 pictures to {command[1]}, in 3 parts" in out
    assert pictures(command[1]) == parts.contents(together)
    assert len(list(command[1].glob("part-00002/*"))) == 2
    summary = json.loads((command[1] / "summary.json").read_text())
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


def test_goes_on_after_lost_and_torn_parts(pixelcnnpp, command):
    arguments, output = command
    assert pixelcnnpp(*arguments)[0] == 0
    finished = parts.contents(output)
    (output / "part-00000" / "bright_image_02.png").unlink()
    torn = output / "part-00002" / "dark_image_05.png"
    torn.write_bytes(torn.read_bytes()[:-3])
    kept = parts.unchanged(output)
    status, out, _ = pixelcnnpp(*arguments)
    assert status == 0
    assert "1 of 3 parts are there already" in out
    assert parts.contents(output) == finished
    same = {name for name, facts in parts.unchanged(output).items() if kept.get(name) == facts}
    assert same == {name for name in finished if name.startswith("part-00001/")}


@pytest.mark.parametrize(
    ("option", "name"),
    [
        (("--seed", 4), "seed"),
        (("--temperature", 0.5), "temperature"),
        (("--count", 6), "labels"),
        (("--batch-size", 5), "batch_size"),
    ],
)
def test_other_inputs_are_refused(pixelcnnpp, command, option, name):
    assert pixelcnnpp(*command[0])[0] == 0
    finished = parts.contents(command[1])
    one_line(pixelcnnpp(*command[0], *option), str(command[1]), f"({name})")
    assert parts.contents(command[1]) == finished


def test_pictures_without_parts_are_not_mixed_in(pixelcnnpp, savedmodel, command):
    assert pixelcnnpp("savedmodel", "sample", savedmodel, "--output", command[1], *OPTIONS)[0] == 0
    one_line(pixelcnnpp(*command[0]), "no job.json")
