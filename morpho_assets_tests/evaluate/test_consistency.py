from __future__ import annotations

from morpho_assets.evaluate.consistency import ConsistencyConfig, consistency
from morpho_assets.profiles.features import feature_columns
from morpho_assets_tests.evaluate.conftest import screen, value

MOA = ConsistencyConfig(label="Metadata_moa")


def test_mechanisms_find_each_other_by_a_second_kind_of_profile() -> None:
    frame = screen(2, treatments=24, plates=4)
    found = consistency(frame, feature_columns(frame), MOA)
    assert found.details["treatments"]["Metadata_moa"].to_list() == ["m0", "m1", "m2", "m3"]
    assert value(found.metrics, "mAP") > 0.9 > value(found.metrics, "mAP", "chance")
    assert found.metrics["evaluator"].unique().to_list() == ["consistency"]


def test_what_is_not_active_is_not_asked() -> None:
    frame = screen(0)
    nothing = consistency(frame, feature_columns(frame), MOA)
    assert nothing.metrics.select("metric", "value", "n").rows() == [
        ("mAP", None, 0), ("normalised_AP", None, 0), ("fraction_retrieved", None, 0),
    ]  # fmt: skip
    everything = consistency(frame, feature_columns(frame), ConsistencyConfig(label="Metadata_moa", activity=None))
    assert value(everything.metrics, "fraction_retrieved") < 0.5
