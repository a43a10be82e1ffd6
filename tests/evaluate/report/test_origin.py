import shlex

from keras_pixelcnnpp.evaluate.report.facts import RunFacts
from keras_pixelcnnpp.evaluate.report.origin import reproduction_section, training_words
from keras_pixelcnnpp.files import write_json
from keras_pixelcnnpp.run import RunFolder


def test_default_of_the_device_is_left_out():
    config = {
        "data": {"source": "digits", "image_shape": [8, 8, 1]},
        "baseline": {"options": {"jit_compile": "auto", "limit": None}},
    }
    assert training_words(config, "baseline") == [
        *("train", "baseline", "--data", "digits", "--image-size", "8")
    ]


def test_lines_can_be_pasted_into_a_shell(tmp_path):
    run = RunFolder(tmp_path / "my run")
    data = {"source": "/my data/a$b", "image_shape": [8, 8, 1]}
    versions = {"backend": "jax"}
    write_json(run.config_json, {"data": data, "baseline": {"options": {}, "versions": versions}})
    options = {"data": "/other data", "split": "test", "flip_average": True}
    write_json(run.reports / "classification.json", {"options": options})
    options = {"per_class": 9, "temperature": 0.5, "temperatures": ""}
    write_json(run.reports / "generation.json", {"options": options})
    write_json(run.reports / "foreign.json", {"split": "test"})
    training, measuring = reproduction_section(RunFacts(run)).blocks
    (line,) = training.lines
    assert shlex.split(line) == [
        # It was trained before there was a choice.
        *("KERAS_BACKEND=jax", "pixelcnnpp", "train", "baseline", "--resize", "squeeze"),
        *("--data", "/my data/a$b"),
        *("--image-size", "8", "--run", str(run.path)),
    ]
    assert [shlex.split(line)[2:-2] for line in measuring.lines] == [
        ["classification", "--data", "/other data", "--split", "test", "--flip-average"],
        [*("generation", "--per-class", "9", "--temperature", "0.5"), "--temperatures", ""],
        ["foreign"],
        ["report"],
    ]
