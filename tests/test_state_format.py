import json
import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paradigm.state_format import decode_state, encode_state


def round_trip(state):
    tree, tensors = encode_state(state)
    return decode_state(json.loads(json.dumps(tree, allow_nan=False)), tensors.__getitem__)


LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5), st.binary(max_size=5))
TUPLES = st.tuples(st.integers(), st.text(max_size=3))
KEYS = st.one_of(st.text(max_size=4), st.integers(), st.booleans(), TUPLES, st.sampled_from(["$tensor", "$", "a/b"]))


def nested(inner):
    return st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4), st.tuples(inner, inner))


@settings(max_examples=150, deadline=None)
@given(st.recursive(LEAVES, nested, max_leaves=12))
def test_plain_data_comes_back_equal_and_of_the_same_type(state):
    # repr tells 1 from True from 1.0, -0.0 from 0.0, and a tuple from a list
    assert repr(round_trip(state)) == repr(state)


def test_floats_that_json_lacks_come_back():
    nan, up, down = round_trip([math.nan, math.inf, -math.inf])
    assert math.isnan(nan) and up == math.inf and down == -math.inf
    for value in (0.1, 5e-324, 1.7976931348623157e308, -0.0):
        assert math.copysign(1, round_trip(value)) == math.copysign(1, value) and round_trip(value) == value


ALL_DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64, torch.complex128,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8, torch.bool,
]  # fmt: skip


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3, 2), (0, 4)])
def test_tensors_of_every_dtype_come_back_bit_for_bit(dtype, shape):
    raw = torch.randint(0, 2, (*shape, dtype.itemsize), dtype=torch.uint8)
    tensor = raw.reshape(-1).view(dtype).reshape(shape)
    got = round_trip({"x": tensor})["x"]
    assert got.dtype == dtype and got.shape == tensor.shape
    assert torch.equal(got.reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8))


NUMPY_DTYPES = ["bool", "int8", "uint16", "uint32", "uint64", "int64", "float16", "float32", "float64", "complex64", "complex128", ">i4"]


@pytest.mark.parametrize("dtype", NUMPY_DTYPES)
def test_arrays_and_numpy_scalars_come_back(dtype):
    for array in (np.arange(6).reshape(2, 3).astype(dtype), np.zeros((0, 2), dtype), np.ones((), dtype)):
        got = round_trip(array)
        assert isinstance(got, np.ndarray) and got.dtype == array.dtype.newbyteorder("=") and got.shape == array.shape
        np.testing.assert_array_equal(got, array)
        got[...] = 0  # writable
    scalar = round_trip(np.ones(1, dtype)[0])
    assert isinstance(scalar, np.generic) and scalar == 1 and scalar.dtype == np.dtype(dtype).newbyteorder("=")


def test_shared_strided_and_required_grad_tensors_are_written_by_value():
    base = torch.arange(12.0).reshape(3, 4)
    state = {"whole": base, "again": base, "column": base[:, 1], "transposed": base.T, "parameter": torch.nn.Parameter(base)}
    tree, tensors = encode_state(state)
    assert len({t.untyped_storage().data_ptr() for t in tensors.values()}) == len(tensors) == 5
    got = decode_state(tree, tensors.__getitem__)
    for name, tensor in state.items():
        assert torch.equal(got[name], tensor) and not got[name].requires_grad


def test_colliding_names_stay_apart():
    state = {"a/b": torch.tensor(1), "a": {"b": torch.tensor(2)}, 1: torch.tensor(3), "1": torch.tensor(4)}
    got = round_trip(state)
    assert [got["a/b"].item(), got["a"]["b"].item(), got[1].item(), got["1"].item()] == [1, 2, 3, 4]


def test_flat_tensors_keep_their_names():
    assert list(encode_state({"model.norm.weight": torch.ones(2)})[1]) == ["model.norm.weight"]


def test_generators_go_on_where_they_stopped():
    torch_generator = torch.Generator().manual_seed(3)
    torch.rand(5, generator=torch_generator)
    python_generator = random.Random(4)
    python_generator.gauss(0, 1)
    numpy_generators = [np.random.Generator(getattr(np.random, name)(7)) for name in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")]
    for generator in numpy_generators:
        generator.integers(0, 10, 3, dtype=np.int32)
    legacy_state = np.random.RandomState(5).get_state()
    state = round_trip({"torch": torch_generator, "python": python_generator, "numpy": numpy_generators, "legacy": legacy_state})
    assert torch.equal(torch.rand(9, generator=state["torch"]), torch.rand(9, generator=torch_generator))
    assert [state["python"].gauss(0, 1) for _ in range(3)] == [python_generator.gauss(0, 1) for _ in range(3)]
    for got, generator in zip(state["numpy"], numpy_generators):
        np.testing.assert_array_equal(got.integers(0, 1 << 30, 5, dtype=np.int32), generator.integers(0, 1 << 30, 5, dtype=np.int32))
    legacy = np.random.RandomState(0)
    legacy.set_state(state["legacy"])
    assert legacy.randint(1 << 30) == np.random.RandomState(5).randint(1 << 30)


def test_an_optimizer_state_comes_back():
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight], lr=0.1, betas=(0.9, 0.95))
    weight.sum().backward()
    optimizer.step()
    other = torch.optim.AdamW([torch.nn.Parameter(torch.ones(3))])
    other.load_state_dict(round_trip(optimizer.state_dict()))
    assert other.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]
    assert torch.equal(other.state_dict()["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"])


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, np.array(["a"]), np.array([object()]), torch.ones(2).to_sparse(), torch.empty(2, device="meta"), torch.float32],
    ids=lambda value: repr(value).split(" at 0x")[0],  # an address would differ between processes that collect tests
)  # fmt: skip
def test_what_cannot_be_written_is_refused_by_path(value):
    with pytest.raises(TypeError, match="state at 'sampler/slots/1' must be"):
        encode_state({"sampler": {"slots": [0, value]}})


def test_unknown_forms_are_refused():
    with pytest.raises(ValueError, match=r"forms of this version, got '\$pickle'"):
        decode_state({"$pickle": "x"}, {}.__getitem__)
    with pytest.raises(ValueError, match="bit_generator must be one of"):
        decode_state({"$numpy_generator": {"bit_generator": "system"}}, {}.__getitem__)
