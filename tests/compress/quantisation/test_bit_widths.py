"""Plans, sensitivities and the wall."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archspace import Network
from child_models import Dataset
from compress.quantisation.bit_wall import lower_bits, size_cost
from compress.quantisation.errors import BudgetUnreachable, QuantisationError
from compress.quantisation.plan import BitPlan, layer_size_bytes, mean_bits, network_size_bytes
from compress.quantisation.post_training import WeightCalibration
from compress.quantisation.sensitivity import Sensitivity, mean_kl, sensitivity_table
from compress.trained_model import TrainedModel
from deploy.packing import HEADER_BYTES


def row(layer: str, bits: int, kl: float) -> Sensitivity:
    return Sensitivity(layer=layer, bits=bits, accuracy_drop=0.0, kl=kl, saved_bytes=0)


TABLE = [
    row("a", 8, 0.0), row("a", 4, 0.1), row("a", 2, 9.0),
    row("b", 8, 0.0), row("b", 4, 0.3), row("b", 2, 0.35),
]  # fmt: skip


def total(bits: dict[str, int]) -> float:
    return float(sum(bits.values()))


def test_a_plan_goes_by_kind_with_first_and_last_apart(digits_network: Network) -> None:
    plan = BitPlan(depthwise=7, pointwise=4, grouped=6, conv=3, linear=5, first=8, last=2)
    assert plan.bits(digits_network) == {
        "stem": 8, "early": 5, "deep": 7, "point": 4, "group": 6, "wide": 4, "logits": 2,
    }  # fmt: skip
    assert set(BitPlan.uniform(32).bits(digits_network).values()) == {32}
    assert BitPlan.uniform(3).bits(digits_network)["logits"] == 3


def test_sizes_by_hand(digits_network: Network) -> None:
    layers = {layer.name: layer for layer in digits_network.layers}
    wide = layers["wide"]  # 16 → 24, 1×1, bias
    assert layer_size_bytes(wide, 32) == 4 * 384 + 4 * 24
    assert layer_size_bytes(wide, 4) == HEADER_BYTES + 192 + 4 * 24 + 4 * 24
    assert layer_size_bytes(layers["sum"], 8) == 0
    parts = sum(layer_size_bytes(layer, 32) for layer in digits_network.layers)
    assert network_size_bytes(digits_network, {}) == parts
    assert mean_bits(digits_network, dict.fromkeys(layers, 5)) == 5


def test_the_least_divergence_for_what_it_saves_goes_first() -> None:
    assert lower_bits({"a": 8, "b": 8}, TABLE, total, 12) == {"a": 4, "b": 8}
    assert lower_bits({"a": 8, "b": 8}, TABLE, total, 8) == {"a": 4, "b": 4}
    assert lower_bits({"a": 8, "b": 8}, TABLE, total, 6) == {"a": 4, "b": 2}
    assert lower_bits({"a": 8, "b": 8}, TABLE, total, 16) == {"a": 8, "b": 8}


def test_a_cost_that_does_not_move_at_first_is_still_lowered() -> None:
    """A latency where only 2 bits are faster."""

    def latency_ms(bits: dict[str, int]) -> float:
        return sum(1.0 if width == 2 else 2.0 for width in bits.values())

    assert lower_bits({"a": 8, "b": 8}, TABLE, latency_ms, 3.0)["b"] == 2  # type: ignore[arg-type]


def test_limits_out_of_reach_and_unknown_bits_are_refused() -> None:
    with pytest.raises(
        BudgetUnreachable, match="at most 3, but with the fewest bits everywhere it is 4"
    ):
        lower_bits({"a": 8, "b": 8}, TABLE, total, 3)
    with pytest.raises(QuantisationError, match="starts at 5 bits; the table has"):
        lower_bits({"a": 5}, TABLE, total, 3)


def test_what_is_left_of_the_limit_is_given_back() -> None:
    """c is lowered first and for little; then only b brings it under the limit, and c fits again."""
    table = [row("b", 8, 0.0), row("b", 2, 1.0), row("c", 8, 0.0), row("c", 4, 0.1)]
    assert lower_bits({"b": 8, "c": 8}, table, total, 11) == {"b": 2, "c": 8}


@settings(max_examples=60, deadline=None)
@given(
    kls=st.lists(st.floats(0, 10), min_size=21, max_size=21),
    share=st.floats(0.0, 1.0),
)
def test_limits_hold_and_layers_only_go_down(
    digits_network: Network, kls: list[float], share: float
) -> None:
    layers = [n.name for n in digits_network.layers if n.op in ("conv", "linear")]
    numbers = iter(kls)
    table = [row(name, bits, next(numbers)) for name in layers for bits in (2, 4, 8)]
    start = dict.fromkeys(layers, 8)
    cost = size_cost(digits_network)
    least = cost(dict.fromkeys(layers, 2))
    limit = least + share * (cost(start) - least)
    bits = lower_bits(start, table, cost, limit)
    assert cost(bits) <= limit
    assert all(bits[name] <= start[name] for name in layers)


def test_sensitivities_tell_bits_apart(trained_digits: TrainedModel, digits: Dataset) -> None:
    done: list[tuple[int, int]] = []
    table = sensitivity_table(
        trained_digits,
        digits,
        WeightCalibration(),
        bits=(2, 8),
        images=200,
        on_entry=lambda *entry: done.append(entry),
    )
    assert done[-1] == (14, 14)
    kl = {(entry.layer, entry.bits): entry.kl for entry in table}
    for layer in ("stem", "deep", "point", "wide"):
        assert kl[layer, 2] > 10 * kl[layer, 8] > 0
    assert all(entry.saved_bytes > 0 for entry in table if entry.layer == "wide")


def test_divergence_by_hand() -> None:
    first, second = np.log([[0.5, 0.5]]), np.log([[0.25, 0.75]])
    expected = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    assert mean_kl(first.astype(np.float32), second.astype(np.float32)) == pytest.approx(
        expected, rel=1e-5
    )
    assert mean_kl(first.astype(np.float32), first.astype(np.float32)) == 0
