import pytest
import tiny
from command_line import one_line

from keras_pixelcnnpp.training.run import RunFolder
from keras_pixelcnnpp.utils.errors import UserError
from keras_pixelcnnpp.utils.files import write_json

pytestmark = pytest.mark.once


def test_a_model_that_is_not_there_yet(tmp_path):
    run = RunFolder(tmp_path)
    run.model_keras.touch()
    with pytest.raises(UserError, match=r"no config.json\. .* without its run with --model"):
        run.require_model("pixelcnnpp")
    write_json(run.config_json, {"data": tiny.tiny_data_config(tiny.tiny_dataset())})
    assert run.require_model("pixelcnnpp") == run.model_keras
    run.model_keras.unlink()
    with pytest.raises(UserError, match=r"no trained baseline.*pixelcnnpp train-baseline"):
        run.require_model("baseline")
    run.checkpoints("pixelcnnpp").mkdir(parents=True)
    (run.checkpoints("pixelcnnpp") / "epoch-0003.npz").touch()
    with pytest.raises(UserError, match=r"no trained pixelcnnpp.*pixelcnnpp train --resume --run"):
        run.require_model("pixelcnnpp")


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
    run = RunFolder(tmp_path / "runs" / "run")

    def train():
        with run.locked():
            with pytest.raises(UserError, match="in use"), RunFolder(run.path).locked():
                pass
            raise KeyError

    for _ in range(2):  # the lock is released when the training ends or fails
        with pytest.raises(KeyError):
            train()
    with RunFolder(run.path).locked():
        pass


def test_commands_do_not_write_to_a_run_in_use(run, pixelcnnpp):
    model, image = ("--run", run.path), run.path / "tiny.npz"  # a file, though no image
    commands = [
        ("evaluate", "likelihood", *model),
        ("export", *model),
        ("sample", *model, "--count", 1, "--output", run.path / "samples"),
        ("sample", *model, "--count", 1, "--output", run.path / "a.png"),
        ("complete", image, *model, "--output", run.path / "a.png"),
        ("classify", image, *model, "--csv", run.path / "a.csv"),
        ("score", "--data", run.path, *model, "--output", run.path / "a.csv"),
        ("posterior", "--grid", "h0=0", "--data", image, *model, "--figure", run.path / "a.png"),
        ("compress", image, *model, "--output", run.path / "a.pxc"),
        ("decompress", image, *model, "--output", run.path / "images"),
    ]
    before = sorted(run.path.rglob("*"))
    with RunFolder(run.path).locked():
        for command in commands:
            one_line(pixelcnnpp(*command), "in use by another process")
    assert {*run.path.rglob("*")} - {*before} <= {run.path / ".lock"}


@pytest.mark.parametrize("name", ["reports", "logs/pixelcnnpp"])
def test_links_do_not_lead_out_of_a_run(run, pixelcnnpp, name):
    outside, link = run.path.parent / "outside", run.path / name
    outside.mkdir()
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside)
    command = ("evaluate", "generation", "--run", run.path, "--per-class", 1)
    one_line(pixelcnnpp(*command), f"{link} is a link that leads out of the run")
    assert not list(outside.iterdir())


@pytest.mark.parametrize(
    "content", ["split\na,b\n", "split,path,class,sha256\ntrain\n", "a" * 2**18]
)
def test_damaged_list_of_images(run, pixelcnnpp, content):
    run.split_csv.write_text(content)
    command = ("evaluate", "likelihood", "--run", run.path)
    one_line(pixelcnnpp(*command), "split.csv is damaged")
