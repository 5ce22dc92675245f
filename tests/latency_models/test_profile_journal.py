"""A profile that is killed goes on where it stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from archspace import Network, Shape, StageConfig, StagedSpace, StagedSpaceConfig
from latency_models import (
    Cost,
    CostModelRefused,
    Device,
    DeviceFile,
    JournalMismatch,
    MeasuringFailed,
    ProfileConfig,
    profile_device,
)
from latency_models.journal import MeasuringJournal, results_from_json, results_to_json
from latency_models.measuring import GROUP_SIZE, Measurement

CONFIG = ProfileConfig(num_networks=60, num_held_out=32, num_blocks=80, rounds=2, repeats=2)


class Killed(BaseException):
    """Stands for ``kill -9``."""


def profile(
    space: StagedSpace, machine: Any, journal: Path | None, config: ProfileConfig = CONFIG
) -> DeviceFile:
    return profile_device(
        space,
        None,
        config,
        journal_path=journal,
        load=machine.load,
        clock=machine.clock,
        sleep=machine.sleep,
        find_reader=lambda accelerator: None,
    )


def killed_after(machine: Any, loads: int) -> Any:
    load = machine.load

    def until(network: Network, device: Device) -> Any:
        if len(machine.loaded) >= loads:
            raise Killed
        return load(network, device)

    machine.load = until
    return machine


def assert_equal(one: DeviceFile, two: DeviceFile) -> None:
    """But for the time it took, and the last bits of a clock that did not begin at the same moment."""
    assert one.additive.blocks_ms == pytest.approx(two.additive.blocks_ms)
    assert one.correction.deviations == pytest.approx(two.correction.deviations, abs=1e-9)
    reports = [file.report.model_dump(exclude={"seconds", "energy_source"}) for file in (one, two)]
    assert reports[0] == pytest.approx(reports[1])


@pytest.mark.parametrize("loads", [3, 20, 60, 150, 190])
def test_a_killed_profile_ends_as_if_nothing_had_happened(
    space: StagedSpace, make_machine: Any, tmp_path: Path, loads: int
) -> None:
    journal = tmp_path / "device.json.journal"
    whole = profile(space, make_machine(noise=0.0), None)
    with pytest.raises(Killed):
        profile(space, killed_after(make_machine(noise=0.0), loads), journal)
    again = make_machine(noise=0.0)
    resumed = profile(space, again, journal)
    assert_equal(resumed, whole)
    assert not journal.exists()
    fresh = make_machine(noise=0.0)
    profile(space, fresh, None)
    assert (
        len(again.loaded) < len(fresh.loaded) or loads < 5 + GROUP_SIZE
    )  # what was measured is not again


def test_time_that_was_spent_is_not_spent_again(
    space: StagedSpace, make_machine: Any, tmp_path: Path
) -> None:
    journal = tmp_path / "j"
    whole = make_machine(noise=0.0)
    profile(space, whole, None)
    config = CONFIG.model_copy(update={"budget_s": whole.now / 2})
    limited = make_machine(noise=0.0)
    file = profile(space, limited, None, config)
    assert file.report.num_blocks_measured + file.report.num_fit < 140
    with pytest.raises(Killed):
        profile(space, killed_after(make_machine(noise=0.0), 70), journal, config)
    resumed = profile(space, make_machine(noise=0.0), journal, config)
    assert resumed.report.num_blocks_measured == file.report.num_blocks_measured
    assert resumed.report.seconds < 1.2 * file.report.seconds + 0.1


def test_a_torn_last_line_is_measured_again(
    space: StagedSpace, make_machine: Any, tmp_path: Path
) -> None:
    journal = tmp_path / "j"
    with pytest.raises(Killed):
        profile(space, killed_after(make_machine(noise=0.0), 60), journal)
    journal.write_bytes(journal.read_bytes()[:-25])
    resumed = profile(space, make_machine(noise=0.0), journal)
    assert_equal(resumed, profile(space, make_machine(noise=0.0), None))


def test_another_profiles_journal_is_refused_and_kept(
    space: StagedSpace, make_machine: Any, tmp_path: Path
) -> None:
    journal = tmp_path / "j"
    with pytest.raises(Killed):
        profile(space, killed_after(make_machine(noise=0.0), 60), journal)
    before = journal.read_bytes()
    other = StagedSpace(
        StagedSpaceConfig(stem_channels=8, stages=(StageConfig(channels=8, layers=3),)),
        input_shape=Shape(1, 8, 8),
        num_classes=10,
    )
    with pytest.raises(JournalMismatch, match="another space, device or budget"):
        profile(other, make_machine(), journal)
    with pytest.raises(JournalMismatch, match="delete it"):
        profile(space, make_machine(), journal, CONFIG.model_copy(update={"rounds": 3}))
    assert journal.read_bytes() == before
    journal.write_text("something\nelse\n")
    with pytest.raises(JournalMismatch, match="expected the journal"):
        profile(space, make_machine(), journal)


def test_a_refused_profile_can_be_tried_anew(
    space: StagedSpace, make_machine: Any, tmp_path: Path
) -> None:
    journal = tmp_path / "j"
    with pytest.raises(CostModelRefused):
        profile(space, make_machine(noise=3.0), journal)
    assert not journal.exists()
    profile(space, make_machine(noise=0.0), journal)


def test_records_come_back_in_order_and_only_as_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = MeasuringJournal(path, {"a": 1})
    assert journal.replay(["x"]) is None
    journal.add(["x"], [1], 2.5)
    journal.add(["y"], "two", 4.0)
    again = MeasuringJournal(path, {"a": 1})
    assert (again.elapsed_s, again.replayed_s) == (4.0, 0.0)
    with pytest.raises(JournalMismatch, match="of other networks"):
        again.replay(["y"])
    assert again.replay(["x"]) == [1]
    assert again.comes_next(["y"])
    assert again.replay(["y"]) == "two"
    assert again.replayed_s is None
    assert again.replay(["z"]) is None


def test_measurements_and_failures_survive_as_text() -> None:
    results = [
        Measurement(latency=Cost(1.5, 0.1, "measured"), rounds=5, reference_ms=0.2, drift=0.01, discarded=1),
        MeasuringFailed("network x is broken"),
    ]  # fmt: skip
    one, two = results_from_json(results_to_json(results))
    assert one == results[0]
    assert isinstance(two, MeasuringFailed)
    assert str(two) == "network x is broken"
