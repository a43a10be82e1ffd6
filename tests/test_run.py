import os

import pytest
import tiny

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.files import write_json
from keras_pixelcnnpp.run import RunFolder

DATA = {
    "source": "digits",
    "fingerprint": "f00d",
    "seed": 0,
    "class_names": ("0", "1"),
    "image_shape": (8, 8, 1),
}


def config(**options):
    return {"options": {"filters": 40, "epochs": 3, **options}, "model": {}}


def finish(run, section="pixelcnnpp"):
    """Writes the files of a finished run."""
    run.checkpoints(section).mkdir(parents=True)
    (run.checkpoints(section) / "epoch-0003.npz").touch()
    run.model(section).touch()


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.start("pixelcnnpp", config(), DATA)
    finish(folder)
    return folder


def test_the_other_model_has_the_same_data(run):
    other = {**DATA, "fingerprint": "beef"}
    for section, overwrite in (("baseline", False), ("pixelcnnpp", True)):
        run.start("baseline", config(), DATA, overwrite=True)
        finish(run, "baseline")
        with pytest.raises(UserError, match=r"other images\. They have changed"):
            run.start(section, config(), other, overwrite=overwrite)
        larger = {**other, "image_shape": [9, 9, 1]}
        with pytest.raises(UserError, match=r"Use the options --image-size \d+; or"):
            run.start(section, config(), larger, overwrite=overwrite)
    run.start("pixelcnnpp", config(filters=80), DATA, overwrite=True)
    assert set(run.read_config()) == {"data", "pixelcnnpp", "baseline"}
    assert run.baseline_keras.exists()


def test_a_run_that_is_there_is_resumed_or_overwritten(run):
    before = run.config_json.read_text()
    for options in ({}, {"epochs": 9}):
        with pytest.raises(UserError, match=r"--resume .* --overwrite"):
            run.start("pixelcnnpp", config(**options), DATA, may_change=("epochs",))
    with pytest.raises(UserError, match=r"the same: --filters 40, without --max-examples\. Or"):
        run.start("pixelcnnpp", config(filters=80, max_examples=9), DATA, resume=True)
    with pytest.raises(UserError, match=r"has finished\. Use more --epochs"):
        run.start("pixelcnnpp", config(), DATA, resume=True)
    assert run.config_json.read_text() == before
    assert run.model_keras.exists()
    run.start("pixelcnnpp", config(filters=80), DATA, overwrite=True)
    assert not run.model_keras.exists()
    assert not run.checkpoints("pixelcnnpp").exists()


@pytest.mark.parametrize(
    ("options", "how"),
    [
        ({"filters": 80}, {"overwrite": True}),
        ({"epochs": 9}, {"resume": True, "may_change": ("epochs",)}),
    ],
)
def test_no_results_of_the_model_before_are_left(run, options, how):
    """Samples and export belong to the PixelCNN++; reports belong to both models."""
    made = [folder / "a.json" for folder in (run.reports, run.samples, run.savedmodel)]
    for file in made:
        file.parent.mkdir(exist_ok=True)
        file.touch()
    run.start("baseline", config(), DATA)
    assert all(file.exists() for file in made)
    finish(run, "baseline")
    run.start("baseline", config(), DATA, overwrite=True)
    assert [file.exists() for file in made] == [False, True, True]
    run.start("pixelcnnpp", config(**options), DATA, **how)
    assert not any(file.exists() for file in (*made, run.model_keras))


def test_without_a_checkpoint_a_run_is_resumed_or_started_anew(tmp_path):
    run = RunFolder(tmp_path / "run")
    with pytest.raises(UserError, match="Nothing to resume"):
        run.start("pixelcnnpp", config(), DATA, resume=True)
    assert not run.path.exists()
    run.start("pixelcnnpp", config(), DATA)
    run.start("pixelcnnpp", config(), DATA, resume=True)
    with pytest.raises(UserError, match=r"use the same: --filters 40\. Or"):
        run.start("pixelcnnpp", config(filters=80), DATA, resume=True)
    with pytest.raises(UserError, match="Nothing to resume"):
        run.start("baseline", config(), DATA, resume=True)
    run.start("pixelcnnpp", config(filters=80), {**DATA, "fingerprint": "beef"})
    assert run.read_config()["pixelcnnpp"]["options"]["filters"] == 80


def test_a_model_of_no_run_is_not_replaced(tmp_path):
    run = RunFolder(tmp_path)
    run.model_keras.write_bytes(b"saved by hand")
    with pytest.raises(UserError, match="that is not in"):
        run.start("pixelcnnpp", config(), DATA)
    assert run.model_keras.read_bytes() == b"saved by hand"
    run.start("pixelcnnpp", config(), DATA, overwrite=True)
    assert not run.model_keras.exists()


def test_the_other_model_may_be_in_its_first_epoch(tmp_path):
    """It has written only its section so far."""
    run = RunFolder(tmp_path / "run")
    run.start("pixelcnnpp", config(), DATA)
    with pytest.raises(UserError, match="other images"):
        run.start("baseline", config(), {**DATA, "fingerprint": "beef"})
    run.start("baseline", config(), DATA)
    assert set(run.read_config()) == {"data", "pixelcnnpp", "baseline"}


def test_the_seed_of_the_other_model_is_its_own(run):
    """The seed of the data, which determines the splits, does not change."""
    run.start("baseline", config(seed=1), {**DATA, "seed": 1})
    assert run.read_config()["data"]["seed"] == 0


@pytest.mark.parametrize("examples", [{}, {"max_examples": 4}, {"max_examples": 5, "seed": 1}])
def test_the_other_model_has_the_same_part_of_the_data(tmp_path, examples):
    run = RunFolder(tmp_path / "run")
    some = {"max_examples": 5, "seed": 0}
    run.start("pixelcnnpp", config(**some), DATA)
    with pytest.raises(UserError, match="was trained on 5 images, chosen by seed 0"):
        run.start("baseline", config(**{"seed": 0, **examples}), DATA)
    run.start("baseline", config(**some, learning_rate=0.1), DATA)


def test_a_model_that_is_not_there_yet(run):
    assert run.require_model("pixelcnnpp") == run.model_keras
    run.model_keras.unlink()
    with pytest.raises(UserError, match=r"has not finished.*--resume"):
        run.require_model("pixelcnnpp")
    with pytest.raises(UserError, match=r"no trained baseline.*pixelcnnpp train-baseline"):
        run.require_model("baseline")


@pytest.mark.parametrize("options", [{}, {"unlabeled_weight": 1.0}])
def test_images_that_were_not_trained_on_are_none_of_its_training_images(tmp_path, options):
    dataset = tiny.tiny_dataset()
    dataset.split("train").labels[12:] = -1
    chosen = dataset.split("train").some(8, 0)
    expected = chosen if options else chosen.labeled()
    assert 0 < len(chosen.labeled()) < 8
    of_model = {"options": {"max_examples": 8, "seed": 0, **options}}
    data = tiny.tiny_data_config(dataset)
    write_json(tmp_path / "config.json", {"data": data, "pixelcnnpp": of_model})
    assert RunFolder(tmp_path).training_images(dataset).paths == expected.paths


def test_one_training_at_a_time(tmp_path):
    """A second training in the folder gets an error that names the first process."""
    run = RunFolder(tmp_path / "runs" / "run")
    who = rf"run is locked by the training of process {os.getpid()} on \S+, since \d{{4}}-"

    def train():
        with run.locked():
            with pytest.raises(UserError, match=who), RunFolder(run.path).locked():
                pass
            raise KeyError

    for _ in range(2):  # the lock is released when the training ends or fails
        with pytest.raises(KeyError):
            train()
    with RunFolder(run.path).locked():
        pass
