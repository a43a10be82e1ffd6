import pytest

from keras_pixelcnnpp.data.identity import ListedImage
from keras_pixelcnnpp.train.claim import claim
from keras_pixelcnnpp.training.run import RunFolder
from keras_pixelcnnpp.utils.errors import UserError

pytestmark = pytest.mark.once

DATA = {
    "source": "digits",
    "fingerprint": "f00d",
    "class_names": ("0", "1"),
    "image_shape": (8, 8, 1),
}


LISTING = [
    ListedImage("train", "a.png", "0", "1a", "3c"),
    ListedImage("validation", "b.png", "1", "2b", "4d"),
]


def start(run, section="pixelcnnpp", data=DATA, listing=LISTING, how="", **options):
    """Claims the folder for a training; `how` is empty, "resume" or "overwrite"."""
    kind = {"filters": 40} if section == "pixelcnnpp" else {}
    options = {"epochs": 3, **kind, **options}
    config = {"data": data, section: {"options": options, "model": {}}}
    claim(run, section, config, listing, resume=how == "resume", overwrite=how == "overwrite")


def finish(run, section="pixelcnnpp"):
    """Writes the files of a finished run."""
    run.checkpoints(section).mkdir(parents=True)
    (run.checkpoints(section) / "epoch-0003.npz").touch()
    run.model(section).touch()


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    start(folder)
    finish(folder)
    return folder


OTHERS = [LISTING[0]._replace(sha256="3c"), LISTING[1]]
ELSEWHERE = {**DATA, "fingerprint": "beef", "source": "/images"}


OTHER_IMAGES = "was trained on other images, or classes, of digits{}. Add --overwrite"


@pytest.mark.parametrize(
    ("data", "listing", "message"),
    [
        (ELSEWHERE, OTHERS, OTHER_IMAGES.format(": the content or the class of a.png is another")),
        ({**ELSEWHERE, "class_names": ("1", "0")}, LISTING, OTHER_IMAGES.format("")),
        ({**ELSEWHERE, "image_shape": [9, 9, 1]}, LISTING, "--image-size 8 .now"),
    ],
)
def test_other_images_start_over_or_are_refused(run, data, listing, message):
    before = run.config_json.read_text()
    with pytest.raises(UserError, match=message):
        start(run, "baseline", data, listing)
    assert run.config_json.read_text() == before
    run.reports.mkdir()
    start(run, "baseline", data, listing, "overwrite")
    assert run.read_config().keys() == {"data", "baseline"}
    assert not run.model_keras.exists()
    assert not run.reports.exists()
    assert run.listing() == listing


@pytest.mark.parametrize("how", ["resume", ""])
def test_the_same_files_with_other_pixels_are_a_warning(run, capsys, how):
    """Another version of a decoder gives other pixels; files may also be at another place."""
    moved = [image._replace(path=f"x/{image.path}", pixels="5e") for image in LISTING]
    start(run, "pixelcnnpp" if how else "baseline", ELSEWHERE, moved, how, epochs=5)
    assert "Warning: the files are those that" in capsys.readouterr().out
    assert run.read_config()["data"]["source"] == "digits"
    assert run.listing() == LISTING


def test_a_run_that_is_there_is_resumed_or_overwritten(run):
    before = run.config_json.read_text()
    for options in ({}, {"epochs": 9}):
        with pytest.raises(UserError, match=r"--resume .* --overwrite"):
            start(run, **options)
    with pytest.raises(UserError, match=r"not set \(now 9\), --filters 40 \(now 80\)\. To"):
        start(run, how="resume", filters=80, max_examples=9)
    with pytest.raises(UserError, match=r"has already trained .* Use more --epochs"):
        start(run, how="resume", gradient_clip_norm=1.0, sample_every=2)
    assert run.config_json.read_text() == before
    assert run.model_keras.exists()
    start(run, how="overwrite", filters=80)
    assert not run.model_keras.exists()
    assert not run.checkpoints("pixelcnnpp").exists()


def test_what_was_trained_for_longer_is_not_resumed_for_less(run):
    (run.checkpoints("pixelcnnpp") / "epoch-0004-step-00001.npz").touch()
    before = run.config_json.read_bytes()
    for epochs in (3, 4):
        message = rf"for 4 epochs and 1 step. Use more --epochs.*epochs={epochs}"
        with pytest.raises(UserError, match=message):
            start(run, how="resume", epochs=epochs)
    assert run.config_json.read_bytes() == before
    start(run, how="resume", epochs=5)


@pytest.mark.parametrize(
    ("how", "options"), [("overwrite", {"filters": 80}), ("resume", {"epochs": 9})]
)
def test_no_results_of_the_model_before_are_left(run, options, how):
    """Reports belong to both models; a server may read the export."""
    made = [folder / "a.json" for folder in (run.reports, run.savedmodel)]
    for file in made:
        file.parent.mkdir(exist_ok=True)
        file.touch()
    start(run, "baseline")
    assert all(file.exists() for file in made)
    finish(run, "baseline")
    start(run, "baseline", how="overwrite")
    assert [file.exists() for file in made] == [False, True]
    start(run, how=how, **options)
    assert [file.exists() for file in (*made, run.model_keras)] == [False, True, False]
    assert run.checkpoints("pixelcnnpp").exists() == (how == "resume")


def test_without_a_checkpoint_a_run_is_resumed_or_started_again(tmp_path):
    run = RunFolder(tmp_path / "run")
    with pytest.raises(UserError, match="Nothing to resume"):
        start(run, how="resume")
    assert not run.path.exists()
    start(run)
    start(run, how="resume")
    with pytest.raises(UserError, match=r"options: --filters 40 \(now 80\)"):
        start(run, how="resume", filters=80)
    with pytest.raises(UserError, match="Nothing to resume"):
        start(run, "baseline", how="resume")
    start(run, data={**DATA, "fingerprint": "beef"}, filters=80)
    assert run.read_config()["pixelcnnpp"]["options"]["filters"] == 80


def test_a_model_of_no_run_is_not_replaced(tmp_path):
    run = RunFolder(tmp_path)
    run.model_keras.write_bytes(b"saved by hand")
    with pytest.raises(UserError, match="Add --overwrite to replace it"):
        start(run)
    assert run.model_keras.read_bytes() == b"saved by hand"
    start(run, how="overwrite")
    assert not run.model_keras.exists()


def test_the_other_model_may_be_in_its_first_epoch(tmp_path):
    """It has written only its section so far, and stays if this one is trained again."""
    run = RunFolder(tmp_path / "run")
    start(run)
    with pytest.raises(UserError, match="on other images"):
        start(run, "baseline", {**DATA, "fingerprint": "beef"}, LISTING[:1])
    start(run, "baseline")
    assert set(run.read_config()) == {"data", "pixelcnnpp", "baseline"}
    finish(run, "baseline")
    start(run, how="overwrite", filters=80)
    assert set(run.read_config()) == {"data", "pixelcnnpp", "baseline"}
    assert run.baseline_keras.exists()


def test_the_other_model_has_the_same_part_of_the_data(tmp_path):
    run = RunFolder(tmp_path / "run")
    some = {"max_examples": 5, "seed": 0}
    start(run, **some)
    for other in ({}, {"max_examples": 4}, {"max_examples": 5, "seed": 1}):
        with pytest.raises(UserError, match=r"on images of .*--(max-examples 5|seed 0) \(now"):
            start(run, "baseline", **{"seed": 0, **other})
    start(run, "baseline", **some, learning_rate=0.1)
