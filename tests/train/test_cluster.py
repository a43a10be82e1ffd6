import json

import keras
import pytest

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.train.workers import Cluster


def environ(cluster, **task):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}


def test_options_win_over_the_environment():
    found = Cluster.find("a:1, b:2", 1, environ({"worker": ["c:1", "d:1"]}, index=0))
    assert found == Cluster(("a:1", "b:2"), 1)


@pytest.mark.parametrize(
    ("cluster", "task", "index"),
    [
        ({"worker": ["a:1", "b:2", "c:3"]}, {"type": "worker", "index": 2}, 2),
        ({"chief": ["a:1"], "worker": ["b:2", "c:3"]}, {"type": "chief", "index": 0}, 0),
        ({"chief": ["a:1"], "worker": ["b:2", "c:3"]}, {"type": "worker", "index": 0}, 1),
    ],
)
def test_tf_config(cluster, task, index):
    assert Cluster.find(environ=environ(cluster, **task)) == Cluster(("a:1", "b:2", "c:3"), index)


@pytest.mark.parametrize("environ", [{}, {"TF_CONFIG": "{}"}, environ({"worker": ["a:1"]})])
def test_alone(environ):
    assert Cluster.find(environ=environ) is None


@pytest.mark.parametrize(
    ("options", "environ", "message"),
    [
        (("a:1,b:2", None), {}, "belong together"),
        ((None, 0), {}, "belong together"),
        (("a:1,b:2", 2), {}, "from 0 to 1.*worker=2"),
        (("a:1,b", 0), {}, "HOST:PORT.*'b'"),
        (("a:1,b:99999", 0), {}, "HOST:PORT.*'b:99999'"),
        ((None, None), environ({"worker": [1, 2]}, index=0), "HOST:PORT.*1"),
        ((None, None), environ({"worker": "a:1"}, index=0), "HOST:PORT.*'a'"),
        ((None, None), {"TF_CONFIG": "{"}, "TF_CONFIG is damaged"),
        ((None, None), environ({"worker": ["a:1", "b:2"]}, type="ps"), "'ps'"),
    ],
)
def test_bad_input(options, environ, message):
    with pytest.raises(UserError, match=message):
        Cluster.find(*options, environ)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX can")
def test_only_jax_has_workers():
    with pytest.raises(UserError, match="needs KERAS_BACKEND=jax"):
        Cluster(("localhost:1", "localhost:2"), 0).join()
