"""Codebooks and packing."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from compress.quantisation.codebook import Codebook, kmeans_codebook
from compress.quantisation.codebook import _reseeded as reseeded
from compress.quantisation.errors import NotFinite, QuantisationError
from compress.quantisation.quantisers import CodebookQuantiser
from deploy import ExportError
from deploy.errors import BrokenExport
from deploy.packing import HEADER_BYTES, Packed, pack, packed_size_bytes, unpack

VALUES = arrays(np.float32, st.integers(1, 200), elements=st.floats(-100, 100, width=32))


@settings(deadline=None)
@given(values=VALUES, bits=st.integers(2, 8))
def test_never_more_centroids_than_values_or_codes(values: NDArray[np.float32], bits: int) -> None:
    book = kmeans_codebook(values, bits)
    assert len(book.centroids) <= min(2**bits, len(np.unique(values)))
    assert book.bits <= bits
    rounded = book.nearest(values)
    np.testing.assert_array_equal(book.nearest(rounded), rounded)
    if (values == 0).any():
        assert 0 in book.centroids  # pruned weights stay pruned


@settings(deadline=None)
@given(values=VALUES)
def test_every_value_goes_to_its_nearest_centroid(values: NDArray[np.float32]) -> None:
    book = kmeans_codebook(values, 2)
    distance = np.abs(values.astype(np.float64)[:, None] - book.centroids)
    np.testing.assert_allclose(
        np.abs(values.astype(np.float64) - book.nearest(values)), distance.min(axis=1), rtol=1e-9
    )


def test_few_different_values_are_kept_exactly() -> None:
    values = np.array([3.0, -1.0, 3.0, 0.5], dtype=np.float32)
    book = kmeans_codebook(values, 2)
    np.testing.assert_array_equal(book.centroids, np.array([-1, 0.5, 3], np.float32))
    np.testing.assert_array_equal(book.nearest(values), values)


def test_four_groups_get_their_means() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([-5.0, -1.0, 2.0, 7.0])
    values = (centres[:, None] + rng.uniform(-0.1, 0.1, (4, 50))).astype(np.float32)
    book = kmeans_codebook(values, 2)
    np.testing.assert_allclose(book.centroids, values.mean(axis=1), rtol=1e-5)


def test_no_worse_than_evenly_spaced_numbers_and_near_the_optimum() -> None:
    """Of sorted values the best clusters are intervals: all ways to cut them are tried."""
    values = np.sort(np.random.default_rng(1).standard_normal(14)).astype(np.float32)
    best = min(
        sum(float(np.square(part - part.mean()).sum()) for part in np.split(values, cuts))
        for cuts in map(list, combinations(range(1, 14), 3))
    )
    found = float(np.square(values - kmeans_codebook(values, 2).nearest(values)).sum())
    assert best * (1 - 1e-6) <= found <= 1.5 * best


def test_empty_clusters_start_again_at_the_farthest_values() -> None:
    values = np.array([0.0, 1.0, 2.0, 9.0])
    centroids, empty = np.array([1.0, 5.0, 50.0]), np.array([False, False, True])
    members = np.array([0, 0, 0, 1])
    np.testing.assert_array_equal(reseeded(centroids, empty, values, members), [1.0, 5.0, 9.0])


def test_gaps_leave_no_centroid_unused() -> None:
    """Evenly spaced starts leave most clusters empty here."""
    values = np.concatenate([np.linspace(0, 1, 50), [1000.0]]).astype(np.float32)
    book = kmeans_codebook(values, 4)
    assert len(book.centroids) == 16
    assert len(np.unique(book.codes(values))) == 16


def test_the_gradient_of_a_centroid_is_the_sum_over_its_members() -> None:
    weight = torch.tensor([[-2.0, -1.0], [0.0, 2.0], [2.0, 2.0]])
    part = CodebookQuantiser(kmeans_codebook(weight.numpy(), 2), weight).double()
    upstream = torch.arange(6, dtype=torch.float64).reshape(3, 2)
    part(weight.double()).backward(upstream)
    unit = float(weight.square().mean().sqrt())
    assert part.move.grad is not None
    # a centroid of 0 stays
    np.testing.assert_allclose(part.move.grad / unit, [0.0, 1.0, 0.0, 3.0 + 4.0 + 5.0], rtol=1e-6)


def test_centroid_gradcheck() -> None:
    weight = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 5)))
    part = CodebookQuantiser(kmeans_codebook(weight.numpy(), 2), weight).double()
    move = part.move.detach().clone().requires_grad_()

    def run(move: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(part, {"move": move}, (weight,)) ** 2

    assert torch.autograd.gradcheck(run, (move,))


@settings(deadline=None)
@given(values=VALUES, bits=st.integers(2, 8))
def test_packed_bytes_are_as_many_as_said_and_unpack_to_the_weights(
    values: NDArray[np.float32], bits: int
) -> None:
    book = kmeans_codebook(values, bits)
    data = pack(book.packed(values))
    assert len(data) == book.size_bytes(len(values))
    packed_bits = len(values) * book.bits
    assert len(data) == HEADER_BYTES + 4 * len(book.centroids) + -(-packed_bits // 8)
    again = unpack(data)
    np.testing.assert_array_equal(again.numbers[again.integers], book.nearest(values))


def test_the_size_by_hand() -> None:
    """1,000 weights of 3 bits, 8 centroids: 375 and 32 bytes beside the header."""
    assert packed_size_bytes(1000, 3, 8) == HEADER_BYTES + 375 + 32


def test_bytes_that_are_no_packed_weights_are_refused() -> None:
    data = pack(Packed(np.zeros(2, np.float32), np.array([1, 0, 1], np.uint8), 1))
    for broken in (data[:-1], data + b"x", data[:4], b"\x07" + data[1:]):
        with pytest.raises(BrokenExport, match="expected"):
            unpack(broken)
    with pytest.raises(ExportError, match="does not fit into 2 bits"):
        pack(Packed(np.zeros(1, np.float32), np.array([4], np.uint8), 2))


def test_bad_values_and_centroids_are_refused() -> None:
    with pytest.raises(NotFinite, match="NaN or infinite"):
        kmeans_codebook(np.array([1.0, np.nan]), 4)
    with pytest.raises(QuantisationError, match="larger than the one before"):
        Codebook(np.array([1.0, 1.0], np.float32))
    with pytest.raises(QuantisationError, match="1 to 256"):
        Codebook(np.zeros(0, np.float32))
