"""Sampling under torch: the second step of each kind runs as a traced program without Keras."""

import operator

import numpy as np
import pytest
import tiny

from keras_pixelcnnpp.distributions import heads
from keras_pixelcnnpp.models.pixelcnn import GatedPixelCNN

torch = pytest.importorskip("torch")
program = pytest.importorskip("keras_pixelcnnpp.sampling.torch_program")

pytestmark = pytest.mark.torch
LABELS = np.array([0, 1, 2])


@pytest.fixture(params=["pixelcnnpp", "mixed_bfloat16", "sub-pixels"])
def model(request):
    options = {"filters": 4, "num_blocks": 1, "conditioning": "bias", "head": "categorical"}
    if request.param == "sub-pixels":
        return GatedPixelCNN((4, 4, 2), 3, 5, **options)
    if request.param == "mixed_bfloat16":
        return tiny.tiny_model(dtype="mixed_bfloat16")
    return tiny.tiny_model(num_resolutions=2, conditioning="film+spatial")


def steps(given=(), programs=None):
    return program.RecordedSteps((None, None), given, {} if programs is None else programs)


def test_second_call_does_not_run_the_network_in_python(model, monkeypatch):
    first = model.sample(LABELS, seed=0)

    def fail(*arguments, **options):
        raise AssertionError("The network runs in Python")

    for part in ("call_vertical_stack", "call_horizontal_stack"):
        monkeypatch.setattr(type(model.network), part, fail)
    assert np.any(model.sample(LABELS[::-1], seed=1) != first)
    np.testing.assert_array_equal(model.sample(LABELS, seed=0), first)


def test_programs_can_be_captured(model, monkeypatch):
    """Programs run on fake tensors, so on a GPU nothing waits for values."""
    from torch._subclasses import FakeTensorMode

    original, checked = program.Program.prepared, []

    def prepared(self, given):
        step = original(self, given)

        def both(*varying):
            with FakeTensorMode(allow_non_fake_inputs=True) as mode:
                expected = step(*map(mode.from_tensor, varying))
            results = step(*varying)
            assert [x.shape for x in expected] == [x.shape for x in results]
            checked.append(self)
            return results

        return both

    monkeypatch.setattr(program.Program, "prepared", prepared)
    model.sample(LABELS, seed=0)
    assert len(set(checked)) >= 3


def test_a_step_must_not_look_at_a_value():
    def step(num_lower, x, steps):
        return [x + 1 if x.sum() > 0 else x]

    with pytest.raises(RuntimeError, match="must not read the values"):
        steps().call(step, 0, torch.ones(2))


def test_the_same_tensor_twice_is_not_always_the_same():
    def step(num_lower, x, y, steps):
        return [x + 2 * y]

    recorded, ones = steps(), torch.ones(2)
    for x, y in [(ones, ones), (ones, 3 * ones), (5 * ones, ones)]:
        np.testing.assert_array_equal(recorded.call(step, 0, x, y)[0], x + 2 * y)


def test_what_is_given_away_is_new_each_time():
    def step(num_lower, x, steps):
        return [torch.zeros(2), x]

    recorded, one = steps(), torch.ones(2)
    for _ in range(3):
        zeros, _ = recorded.call(step, 0, one)
        np.testing.assert_array_equal(zeros, [0, 0])
        with torch.inference_mode():
            zeros += 1


# All operators of Python, of tensors x and y of positive integers.
OPERATORS = [
    *(lambda x, y: x + y, lambda x, y: x - y, lambda x, y: x * y, lambda x, y: x / y),
    *(lambda x, y: x // y, lambda x, y: x % y, lambda x, y: x**y),
    *(lambda x, y: 7 + x, lambda x, y: 7 - x, lambda x, y: 7 * x, lambda x, y: 7 / x),
    *(lambda x, y: 7 // x, lambda x, y: 7 % x, lambda x, y: 2**x, lambda x, y: x**2),
    *(lambda x, y: x + 7, lambda x, y: x - 7, lambda x, y: x * 7, lambda x, y: x / 7),
    *(lambda x, y: x // 7, lambda x, y: x % 7, lambda x, y: -x, lambda x, y: +x),
    *(lambda x, y: abs(x), lambda x, y: ~x, lambda x, y: x & y, lambda x, y: x | y),
    *(lambda x, y: x ^ y, lambda x, y: 6 & x, lambda x, y: 6 | x, lambda x, y: 6 ^ x),
    *(lambda x, y: x << y, lambda x, y: x >> y, lambda x, y: 1 << x, lambda x, y: 64 >> x),
    *(lambda x, y: x < y, lambda x, y: x <= y, lambda x, y: x == y, lambda x, y: x != y),
    *(lambda x, y: x > y, lambda x, y: x >= y, lambda x, y: x[..., 1:], lambda x, y: x @ y.mT),
    *(operator.iadd, operator.isub, operator.imul, operator.ifloordiv, operator.imod),
    *(operator.ipow, operator.iand, operator.ior, operator.ixor, operator.ilshift),
    *(operator.irshift,),
]


def test_a_head_of_ones_own_may_use_operators(monkeypatch):
    class Operators(heads.LogisticMixtureHead):
        def sample(self, parameters, noise, temperature=1.0):
            x = torch.as_tensor(1 + 4 * noise, dtype=torch.int64)
            found = [operation(x + 0, x) for operation in OPERATORS]
            total = sum(part.to(torch.float32).sum(-1, keepdim=True) for part in found)
            return total.abs() // 1 % self.num_levels

    monkeypatch.setitem(heads.HEADS, "operators", Operators)
    model, fresh = (tiny.tiny_model(head="operators") for _ in range(2))
    expected = fresh.sample(LABELS, seed=1)
    assert np.any(model.sample(LABELS, seed=0) != expected)
    np.testing.assert_array_equal(model.sample(LABELS, seed=1), expected)


def test_memory_that_is_written_is_read_anew():
    def step(num_lower, index, state, steps):
        doubled = 2 * steps.given
        doubled[0] = index
        return [state[0].index_copy_(0, index, doubled[:1] + steps.given[1:2])]

    cache = [torch.zeros(4, dtype=torch.int64)]
    (cache,) = steps(torch.tensor([1, 10])).repeat(step, 0, 4, cache)
    assert cache.tolist() == [10, 11, 12, 13]
