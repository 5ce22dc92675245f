"""What a report says of its device, whatever kind of file it came from."""

from __future__ import annotations

import numpy as np
import pytest

from archspace import NasBench201Space
from latency_models import ChoiceTable, fit_device
from search import RunDevice
from search.report_sections import latency_text
from search.summary import RunSummary
from tests.search.run_samples import SampleRun
from tests.service.test_latency_show import device_file


def test_a_fitted_device_is_judged_by_left_out_measurements() -> None:
    rows = np.unique(np.random.default_rng(0).integers(0, 5, (30, 6)), axis=0)
    table = ChoiceTable(rows, {"phone": 1.0 + rows.sum(axis=1)})
    fitted = fit_device(NasBench201Space(), table, "phone", unit="ms")
    device = RunDevice.fitted(fitted)
    assert device.name == "phone"
    assert device.held_out == ()
    assert device.quality.mape == fitted.header.left_out.mape
    assert device.quality.judged_on == (
        f"{len(rows)} measured networks, each left out of the fit in its turn"
    )
    assert device.quality.energy_source == "estimated"
    assert device.quality.noise_mape is None


def test_a_profiled_device_is_judged_by_networks_held_out() -> None:
    file = device_file()
    device = RunDevice.profiled(file)
    assert device.name == file.device.name
    assert len(device.held_out) == len(file.held_out)
    assert device.quality.noise_spearman == file.report.ceiling_spearman
    assert device.quality.judged_on == f"{file.report.num_held_out} held-out networks"


@pytest.mark.parametrize("left_one_out", [True, False])
def test_the_report_says_which_it_was(left_one_out: bool) -> None:
    run = SampleRun(children=12)
    data = run.summary
    assert data.profile is not None
    profile = type(data.profile)(
        spearman=0.9, mape=0.05, within_10=0.8, held_out=10, left_one_out=left_one_out
    )
    summary = RunSummary(**{**vars(data), "profile": profile})
    text = str(latency_text(summary, (), ()))
    assert ("10 measured networks, each left out of the fit" in text) is left_one_out
    assert ("10 held-out networks" in text) is not left_one_out
    assert RunSummary.from_json(summary.to_json()) == summary
