"""Settings that do not belong together are refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from evaluation import EvaluatorConfig


def test_defaults() -> None:
    config = EvaluatorConfig()
    assert (config.kind, config.workers, config.address) == ("ray", None, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "table"}, "kind table needs table and accuracy_column"),
        ({"kind": "table", "table": "x.csv"}, "needs accuracy_column"),
        ({"kind": "ray", "latency_column": "x"}, "latency_column: only for kind table"),
        ({"kind": "local", "address": "h:1"}, "address: only for kind ray"),
        ({"kind": "ray", "address": "ray://h:1"}, "address"),
        ({"kind": "ray", "address": "head"}, "address"),
        ({"workers": 0}, "workers"),
        ({"child_timeout_s": -1}, "child_timeout_s"),
        ({"wokers": 2}, "wokers"),
    ],
)
def test_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EvaluatorConfig.model_validate(settings)


def test_a_dumped_config_can_be_read_again() -> None:
    for config in (
        EvaluatorConfig(),
        EvaluatorConfig(kind="local"),
        EvaluatorConfig.model_validate(
            {"kind": "table", "table": "x.csv", "accuracy_column": "accuracy"}
        ),
    ):
        assert EvaluatorConfig.model_validate(config.model_dump(mode="json")) == config
