from types import SimpleNamespace
from typing import Any

import pytest

from archspace import Network
from latency_models import compare_devices
from latency_models.describe import describe_block
from latency_models.features import block_digest


def device(blocks_ms: dict[str, float], call_ms: float = 1.0) -> Any:
    """As much of a device file as a comparison reads."""
    return SimpleNamespace(additive=SimpleNamespace(blocks_ms=blocks_ms, call_ms=call_ms))


FIRST = {"w": 0.01, "x": 1.0, "y": 2.0, "z": 4.0, "first only": 3.0}
SECOND = {"second only": 9.0, "w": 5.0, "x": 2.0, "y": 4.0, "z": 80.0}


def test_known_figures() -> None:
    found = compare_devices(device(FIRST), device(SECOND))
    assert found.num_shared == 4
    assert found.num_compared == 3  # w is below a tenth of a call on the first
    # ranks 1 2 3 4 against 3 1 2 4: 1 − 6·(4 + 1 + 1 + 0) / (4·15)
    assert found.spearman == pytest.approx(0.4)
    assert found.median_ratio == pytest.approx(2.0)
    worst = found.unusual[0]
    assert (worst.digest, worst.what, worst.first_ms, worst.second_ms) == ("z", None, 4.0, 80.0)
    assert (worst.ratio, worst.unusual) == pytest.approx((20.0, 10.0))
    assert len(compare_devices(device(FIRST), device(SECOND), num_unusual=1).unusual) == 1


def test_unusually_quick_counts_as_much_as_unusually_slow() -> None:
    second = {"w": 1.0, "x": 1.0, "y": 3.0, "z": 1.0}
    first = {"w": 1.0, "x": 1.0, "y": 1.0, "z": 5.0}
    found = compare_devices(device(first), device(second))
    assert [(row.digest, row.unusual) for row in found.unusual[:2]] == [
        ("z", pytest.approx(0.2)),
        ("y", pytest.approx(3.0)),
    ]


def test_nothing_shared() -> None:
    found = compare_devices(device({"a": 1.0}), device({"b": 1.0}))
    assert (found.num_shared, found.num_compared, found.unusual) == (0, 0, ())
    assert found.spearman is None
    assert found.median_ratio is None


def test_times_that_are_all_alike_have_no_rank_correlation() -> None:
    same = dict.fromkeys("abc", 1.0)
    found = compare_devices(device(same), device({"a": 1.0, "b": 2.0, "c": 3.0}))
    assert found.spearman is None
    assert found.median_ratio == 2.0


def test_only_blocks_within_a_call_s_noise_have_no_ratio() -> None:
    found = compare_devices(device({"a": 0.0, "b": 0.05}), device({"a": 0.0, "b": 4.0}))
    assert (found.num_shared, found.num_compared, found.median_ratio) == (2, 0, None)


def test_blocks_that_are_told_have_names(networks: list[Network]) -> None:
    block = networks[0].blocks[0]
    times = {block_digest(block): 1.0, "other": 1.0}
    found = compare_devices(device(times), device(times), blocks=[block])
    assert {row.what for row in found.unusual} == {describe_block(block), None}
