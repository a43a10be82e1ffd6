import sys

import hostile
import numpy as np
import parts
import pytest
from command_line import one_line
from PIL import Image

from keras_pixelcnnpp.data.images import to_pixels

pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow


@pytest.fixture
def data(tmp_path):
    return parts.write_pictures(tmp_path / "data")


class TestClassify:
    def test_finds_the_savedmodel_of_a_run(self, pixelcnnpp, savedmodel, data, tmp_path):
        run, csv = savedmodel.parent, tmp_path / "out.csv"
        pictures = [data / "00.png", data / "01.png"]
        status, out, _ = pixelcnnpp("savedmodel", "classify", run, *pictures, "--csv", csv)
        assert status == 0
        assert [row.split(",")[0] for row in csv.read_text().split()[1:]] == [*map(str, pictures)]
        assert f"Wrote {csv}" in out

    def test_points_to_score_for_a_folder(self, pixelcnnpp, savedmodel, data):
        status, out, err = pixelcnnpp("savedmodel", "classify", savedmodel, data, data / "00.png")
        assert status == 2
        assert "00.png" in out
        assert err.count("\n") == 1
        assert f"pixelcnnpp savedmodel score {savedmodel} --data {data}" in err

    def test_points_to_score_for_any_name_of_a_folder(self, pixelcnnpp, savedmodel, data, tmp_path):
        folder = tmp_path / "a {1}"
        folder.mkdir()
        result = pixelcnnpp("savedmodel", "classify", savedmodel, folder, data / "00.png")
        assert f"--data '{folder}'" in result[2]


class TestSample:
    def test_writes_pictures(self, pixelcnnpp, savedmodel, exported, tmp_path):
        command = ("savedmodel", "sample", savedmodel, "--output", tmp_path, "--seed", 7)
        status, out, _ = pixelcnnpp(
            *command, "--label", "bright", "--label", 0, "--count", 3, "--batch-size", 4
        )
        assert status == 0
        assert f"Wrote 6 pictures to {tmp_path}" in out
        files = {path.name: np.asarray(Image.open(path)) for path in tmp_path.iterdir()}
        names = {f"{name}_image_0{i}.png" for name in ("dark", "bright") for i in (1, 2, 3)}
        assert set(files) == names
        drawn = exported.call("sample", labels=[2, 2, 2, 0], seed=7, temperature=1.0)["images"]
        for name, levels in zip(("bright_image_03", "dark_image_01"), drawn[2:], strict=True):
            np.testing.assert_array_equal(files[f"{name}.png"], to_pixels(levels, 5)[..., 0])

    @pytest.mark.parametrize(
        ("options", "messages"),
        [
            (("--label", "fourth"), ("'fourth'", "dark, grey, bright")),
            (("--label", 3), ("'3'", "0 to 2")),
            (("--label", 0, "--temperature", 0), ("temperature",)),
        ],
    )
    def test_bad_options(self, pixelcnnpp, savedmodel, tmp_path, options, messages):
        output = tmp_path / "output"
        command = ("savedmodel", "sample", savedmodel, "--output", output)
        one_line(pixelcnnpp(*command, *options), *messages)
        assert not output.exists()


class TestScore:
    @pytest.fixture
    def command(self, savedmodel, data, tmp_path):
        return ("savedmodel", "score", savedmodel, "--data", data, "--output", tmp_path / "scores")

    def test_goes_on(self, pixelcnnpp, command):
        small = ("--part-size", 4, "--batch-size", 3)
        assert pixelcnnpp(*command, *small)[0] == 0
        output = command[-1]
        finished = parts.contents(output)
        (output / "scores-00002.csv").unlink()
        status, out, _ = pixelcnnpp(*command, *small)
        assert status == 0
        assert "3 of 4 parts are there already" in out
        assert "Scored 11 of 13 pictures" in out
        assert parts.contents(output) == finished
        one_line(pixelcnnpp(*command, "--part-size", 5), str(output), "(part_size, batch_size)")

    def test_tells_what_is_too_large_from_what_is_broken(self, pixelcnnpp, command, data):
        (data / "large.png").write_bytes(hostile.png(60_000, 60_000))
        (data / "scans.jpg").write_bytes(hostile.jpeg_of_scans(1200, 1000))
        status, out, _ = pixelcnnpp(*command)
        assert status == 0
        assert "Scored 11 of 15 pictures" in out
        rows = (command[-1] / "scores-00000.csv").read_text().splitlines()
        errors = {row.split(",-1,")[0]: row.split(",,")[-1] for row in rows if ",-1," in row}
        assert "too large" in errors["large.png"]
        assert "scans" in errors["scans.jpg"]
        assert "large" not in errors[parts.BAD[0]]

    def test_workers_without_ray(self, pixelcnnpp, command, monkeypatch):
        monkeypatch.setitem(sys.modules, "ray", None)
        one_line(pixelcnnpp(*command, "--workers", 2), "keras-pixelcnnpp[ray]")
        assert not command[-1].exists()


class TestServe:
    def test_nothing_to_serve(self, pixelcnnpp, tmp_path):
        one_line(pixelcnnpp("savedmodel", "serve", tmp_path), "No SavedModel")

    def test_without_a_server(self, pixelcnnpp, savedmodel, tmp_path, monkeypatch):
        """It doesn't claim to serve first."""
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setitem(sys.modules, "kserve", None)
        result = pixelcnnpp("savedmodel", "serve", savedmodel)
        one_line(result, "keras-pixelcnnpp[serve]")
        assert result[1] == ""
