import base64
import importlib.util
import json
import socket
import sys

import hostile
import numpy as np
import pytest
import tiny
from command_line import one_line
from hypothesis import given
from hypothesis import strategies as st

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.savedmodel.serving import application, predict
from keras_pixelcnnpp.utils.errors import UserError

pytest.importorskip("tensorflow")
pytestmark = [pytest.mark.tensorflow, pytest.mark.once]

FORM = {"Content-Type": "application/x-www-form-urlencoded"}  # of curl -d
IMAGES = [hostile.png(4, 4, data=bytes([0, row, 9, 99, 200] * 4)) for row in range(3)]


def b64(content):
    return {"b64": base64.b64encode(content).decode()}


def test_instances_of_bytes(exported):
    contents = [IMAGES[0], b"bad", *IMAGES[1:]]
    instances = [b64(content) for content in contents]
    request = {"signature_name": "classify_bytes", "instances": instances}
    received = predict(exported, request)["predictions"]
    assert len(received) == len(contents)
    for name, expected in exported.classify_bytes(contents).items():
        values = np.array([prediction[name] for prediction in received])
        np.testing.assert_allclose(values, expected, atol=1e-4)
    named = [{"image_bytes": instance} for instance in instances]
    again = predict(exported, {"signature_name": "classify_bytes", "instances": named})
    assert str(again["predictions"]) == str(received)


def test_inputs_of_arrays(exported):
    images = tiny.tiny_split(5).images
    expected = exported.classify(images)
    received = predict(exported, {"inputs": images.tolist()})["outputs"]
    for name, values in expected.items():
        np.testing.assert_allclose(received[name], values, atol=1e-4)
    inputs = {"images": images.tolist(), "labels": [1] * 5}
    received = predict(exported, {"signature_name": "log_prob", "inputs": inputs})["outputs"]
    np.testing.assert_allclose(received, expected["log_likelihood"][:, 1], atol=1e-4)
    # Like TensorFlow Serving, the server drops the name of a single output, also in rows.
    rows = [{"images": image.tolist(), "labels": 1} for image in images]
    answer = predict(exported, {"signature_name": "log_prob", "instances": rows})
    np.testing.assert_allclose(answer["predictions"], received, atol=1e-4)
    inputs = {"labels": [0, 2], "seed": 3, "temperature": 1}
    received = predict(exported, {"signature_name": "sample", "inputs": inputs})["outputs"]
    np.testing.assert_array_equal(received, exported.sample([0, 2], seed=3))
    inputs["labels"] = []
    assert predict(exported, {"signature_name": "sample", "inputs": inputs})["outputs"] == []


@pytest.mark.parametrize(
    "request_json",
    [
        [],
        {"signature_name": 3, "instances": [1]},
        {"instances": [[[[300]] * 4] * 4]},
        {"signature_name": "classify_bytes", "instances": [{"b64": "?"}]},
        {"signature_name": "log_prob", "instances": [{"labels": 1}]},
        {"signature_name": "sample", "instances": [{"labels": 1, "seed": 1, "temperature": 1}]},
        {"signature_name": "sample", "inputs": {"labels": [2**80], "seed": 0, "temperature": 1}},
    ],
    ids=json.dumps,
)
def test_bad_request_is_one_line(exported, request_json):
    assert hostile.result_or_one_line(predict, exported, request_json) is None


def test_a_request_has_a_bounded_number_of_images(exported):
    sample = {"signature_name": "sample", "inputs": {"seed": 0, "temperature": 1}}
    sample["inputs"]["labels"] = [0] * 256
    assert len(predict(exported, sample)["outputs"]) == 256
    sample["inputs"]["labels"] += [0]
    lists = [[]] * 257  # millions of them are in a body of 16 MB
    for request in (sample, {"instances": lists}, {"inputs": lists}):
        with pytest.raises(UserError, match=r"^A request has at most 256 .* Received: 257$"):
            predict(exported, request)


ENTRIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.fixed_dictionaries({"b64": inner}),
    max_leaves=8,
)


@hostile.examples(200)
@given(
    form=st.sampled_from(["instances", "inputs"]),
    endpoint=st.sampled_from(["classify", "classify_bytes", "log_prob"]),
    values=ENTRIES | st.lists(ENTRIES) | st.fixed_dictionaries({"images": ENTRIES}),
)
def test_any_request(exported, form, endpoint, values):
    request = {"signature_name": endpoint, form: values}
    hostile.result_or_one_line(predict, exported, request)


def test_nothing_to_serve(pixelcnnpp, savedmodel, tmp_path, monkeypatch):
    one_line(pixelcnnpp("serve", "--run", tmp_path), "No SavedModel")
    monkeypatch.setitem(sys.modules, "kserve", None)
    (savedmodel.parent / "model.keras").touch()
    result = pixelcnnpp("serve", "--run", savedmodel.parent)
    (savedmodel.parent / "model.keras").unlink()
    one_line(result, "pip install 'kserve>=")
    # It does not print the address first, but that the model has been trained again.
    assert result[1].startswith("Note: ")
    assert "model.keras is newer than" in result[1]
    assert "http" not in result[1]


def test_a_used_port_is_named(pixelcnnpp, savedmodel):
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        result = pixelcnnpp("serve", "--run", savedmodel, "--port", port)
    one_line(result, f"Cannot listen on 127.0.0.1:{port}")


@pytest.mark.extras
@pytest.mark.skipif(importlib.util.find_spec("kserve") is None, reason="needs the extra `serve`")
@pytest.mark.filterwarnings("ignore:ORJSONResponse")  # KServe uses it
def test_no_request_changes_the_server(exported, caplog):
    from fastapi.testclient import TestClient

    client = TestClient(application(exported, "m"), base_url="http://localhost")
    request = {"instances": [[[[0]] * 4] * 4]}
    for action in ("unload", "load"):
        assert client.post(f"/v2/repository/models/m/{action}").status_code == 404
    assert client.get("/v1/models").json() == {"models": ["m"]}
    unknown = client.post("/v1/models/other:predict", json=request)
    assert unknown.status_code == 404
    with_charset = {"Content-Type": "Application/JSON; charset=utf-8"}
    for content, status in ((json.dumps(request), 200), ("{", 400)):
        answer = client.post("/v1/models/m:predict", content=content, headers=with_charset)
        assert answer.status_code == status
    foreign = client.get("/v1/models", headers={"Host": "evil.example"})
    assert foreign.status_code == 400
    plain = client.post("/v1/models/m:predict", content=json.dumps(request), headers=FORM)
    assert plain.status_code == 400
    assert "Content-Type: application/json. Received: application/x-www" in plain.text
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.extras
@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("kserve") is None, reason="needs the extra `serve`")
def test_right_answers_under_load(tmp_path):
    """Answers are compared with the same endpoint in this process; some requests are invalid."""
    import serving  # benchmarks/serving.py

    model = kp.PixelCNNPlusPlus((8, 8, 1), 2, filters=8, num_resolutions=1, num_mixtures=2)
    (figures,) = serving.measure(model, tmp_path, 1000, clients=[8])
    assert figures["wrong_answers"] == 0
    assert figures["memory_growth_mb"] < 100
    assert set(figures["statuses"]) == {"200", "400"}
