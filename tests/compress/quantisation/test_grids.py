"""Grids: closed-form numbers, and properties that hold for all tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from compress.quantisation.calibration import MapObserver, Method, weight_grid
from compress.quantisation.errors import NotFinite, QuantisationError
from compress.quantisation.grids import Grid

TENSORS = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=4, max_side=6),
    elements=st.floats(-1e6, 1e6, width=32),
)
BITS = st.integers(2, 8)


def test_affine_numbers_by_hand() -> None:
    grid = Grid.of_range(-1.0, 2.0, 8, symmetric=False)
    assert grid.scale == np.float32(3 / 255)
    assert grid.zero_point == 85
    np.testing.assert_array_equal(grid.quantise(np.array([-1.0, 0.0, 2.0, 9.0])), [0, 85, 255, 255])


def test_symmetric_numbers_by_hand() -> None:
    grid = Grid.of_range(-1.4, 0.7, 4, symmetric=True)
    assert grid.scale == np.float32(0.2)
    np.testing.assert_array_equal(grid.quantise(np.array([-9.0, -0.5, 0.31, 1.3])), [-7, -2, 2, 6])


def test_all_negative_tensors_get_a_scale_above_zero() -> None:
    """The maximum alone would give a negative one."""
    values = np.array([[-3.0, -1.0]], dtype=np.float32)
    for symmetric in (True, False):
        grid = weight_grid(values, 8, symmetric=symmetric, channel_axis=None, method="minmax")
        assert grid.scale > 0
        np.testing.assert_allclose(grid.nearest(values), values, atol=float(grid.scale) / 2)


def test_relu_maps_are_unsigned_with_zero_point_zero() -> None:
    observer = MapObserver()
    observer.see_range(torch.tensor([0.0, 2.0, 5.1]))
    grid = observer.grid(8, method="minmax")
    assert grid.zero_point == 0
    assert grid.scale == np.float32(5.1 / 255)


@settings(max_examples=60, deadline=None)
@given(values=TENSORS, bits=BITS, symmetric=st.booleans(), per_channel=st.booleans())
def test_error_is_at_most_half_a_step_and_zero_is_exact(
    values: NDArray[np.float32], bits: int, symmetric: bool, per_channel: bool
) -> None:
    axis = 0 if per_channel else None
    grid = weight_grid(values, bits, symmetric=symmetric, channel_axis=axis, method="minmax")
    rounded = grid.nearest(values)
    step = grid.scale.reshape(-1, *[1] * (values.ndim - 1)) if per_channel else grid.scale
    # 2⁻²² of the value: what float32's division and product lose
    allowed = step / 2 * (1 + 1e-5) + np.abs(values) * 2.0**-22
    assert (np.abs(rounded - values) <= allowed).all()
    assert not grid.nearest(np.zeros_like(values)).any()


@settings(max_examples=60, deadline=None)
@given(values=TENSORS, bits=BITS, symmetric=st.booleans())
def test_rounding_twice_changes_nothing_and_torch_agrees(
    values: NDArray[np.float32], bits: int, symmetric: bool
) -> None:
    grid = weight_grid(values, bits, symmetric=symmetric, method="minmax")
    rounded = grid.nearest(values)
    np.testing.assert_array_equal(grid.nearest(rounded), rounded)
    np.testing.assert_array_equal(grid.nearest_tensor(torch.from_numpy(values)).numpy(), rounded)
    assert len(np.unique(grid.quantise(values))) <= 2**bits


@settings(max_examples=60, deadline=None)
@given(values=TENSORS, bits=BITS, symmetric=st.booleans())
def test_the_range_of_least_error_is_never_worse_than_the_whole(
    values: NDArray[np.float32], bits: int, symmetric: bool
) -> None:
    def error(method: Method) -> float:
        grid = weight_grid(values, bits, symmetric=symmetric, channel_axis=None, method=method)
        return float(np.square(values.astype(np.float64) - grid.nearest(values)).sum())

    assert error("mse") <= error("minmax") * (1 + 1e-9)


def test_least_error_drops_an_outlier_where_bits_are_few() -> None:
    values = np.append(np.linspace(-1, 1, 999), 3.0).astype(np.float32)[None]
    whole = weight_grid(values, 4, method="minmax").scale
    assert weight_grid(values, 4, method="mse").scale < 0.6 * whole
    assert weight_grid(values, 4, method="percentile", percentile=99.0).scale < 0.4 * whole


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(bad: float) -> None:
    values = np.array([[1.0, bad]], dtype=np.float32)
    with pytest.raises(NotFinite, match="1 of 2 numbers are NaN or infinite"):
        weight_grid(values, 8)
    with pytest.raises(NotFinite, match="NaN or infinite"):
        Grid.of_range(-1.0, 1.0, 8, symmetric=True).quantise(values)
    with pytest.raises(NotFinite, match="map holds NaN or infinity"):
        MapObserver().see_range(torch.from_numpy(values))
    with pytest.raises(NotFinite, match="range"):
        Grid.of_range(0.0, bad, 8, symmetric=False)


@pytest.mark.parametrize("value", [0.0, 0.25, -0.25])
@pytest.mark.parametrize("symmetric", [True, False])
def test_constant_tensors(value: float, symmetric: bool) -> None:
    values = np.full((2, 3), value, dtype=np.float32)
    grid = weight_grid(values, 2, symmetric=symmetric)
    np.testing.assert_allclose(grid.nearest(values), values, rtol=1e-6)
    observer = MapObserver()
    observer.see_range(torch.from_numpy(values))
    observer.see_histogram(torch.from_numpy(values))
    np.testing.assert_allclose(
        observer.grid(8, method="mse").nearest(values), values, rtol=1e-2, atol=1e-9
    )


def test_streamed_maps_equal_the_whole() -> None:
    rng = np.random.default_rng(0)
    values = torch.from_numpy(rng.standard_normal(10_000).astype(np.float32))
    grids = []
    for chunks in (values.split(1000), [values]):
        observer = MapObserver()
        for chunk in chunks:
            observer.see_range(chunk)
        for chunk in chunks:
            observer.see_histogram(chunk)
        grids += [observer.grid(4, method=m) for m in ("minmax", "percentile", "mse")]
    for streamed, whole in zip(grids[:3], grids[3:], strict=True):
        assert streamed.scale == whole.scale
    assert grids[2].scale < grids[1].scale < grids[0].scale  # a normal distribution has long tails


def test_percentile_of_a_map_is_that_of_its_numbers() -> None:
    observer = MapObserver()
    values = torch.linspace(0, 100, 10_001)
    observer.see_range(values)
    observer.see_histogram(values)
    assert float(observer.grid(8, method="percentile", percentile=90.0).high) == pytest.approx(
        90, abs=0.1
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits": 9}, "bits: expected 2 to 8, got 9"),
        ({"scale": np.array(0.0, np.float32)}, "finite numbers above 0"),
        ({"zero_point": np.array(1, np.int32)}, "zero points: expected 0"),
        ({"scale": np.ones(2, np.float32)}, "one a channel with its axis"),
    ],
)
def test_grids_that_are_none(change: dict[str, object], message: str) -> None:
    fields = {
        "bits": 8,
        "symmetric": True,
        "scale": np.array(1.0, np.float32),
        "zero_point": np.array(0, np.int32),
    }
    with pytest.raises(QuantisationError, match=message):
        Grid(**{**fields, **change})  # type: ignore[arg-type]


def test_other_numbers_of_channels_and_arguments_are_refused() -> None:
    grid = weight_grid(np.ones((3, 2), np.float32), 8)
    with pytest.raises(QuantisationError, match="expected 3 channels on axis 0"):
        grid.quantise(np.ones((2, 2), np.float32))
    with pytest.raises(QuantisationError, match="channel_axis"):
        weight_grid(np.ones((3, 2), np.float32), 8, channel_axis=2)
    with pytest.raises(QuantisationError, match="percentile"):
        weight_grid(np.ones((3, 2), np.float32), 8, method="percentile", percentile=5)
    with pytest.raises(NotFinite, match="empty"):
        weight_grid(np.ones((0, 2), np.float32), 8)
