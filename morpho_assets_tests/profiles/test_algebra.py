"""Spaces as lists of steps: cells streamed plate by plate, levels, fusion, and what is told of each step."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import tifffile
import yaml

from morpho_assets.errors import InputError
from morpho_assets.gallery.sources import SamplesheetSource
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.tables import table as declared
from morpho_assets.profiles import algebra
from morpho_assets.profiles.aggregate import aggregate
from morpho_assets.profiles.normalize import NormalizeConfig, normalize
from morpho_assets.profiles.pca import PcaConfig, correct_pca
from morpho_assets.profiles.study import (
    as_wells,
    build_spaces,
    consensus_spaces,
    correct_spaces,
    read_space,
    space_features,
)
from morpho_assets.studies.model import Study, load_study
from morpho_assets_tests.factories import commit_tables, commit_work, last, plate, study_work, tables_of
from morpho_assets_tests.project import ROOT

PAGE = ROOT / "docs/profiles.md"
PLATES = ("P0", "P1")
WELLS = [f"{row}{column:02d}" for row in "AB" for column in range(1, 7)]
KEYS = ["Metadata_Plate", "Metadata_Well"]
FEATURES = [
    *(f"Nuclei_AreaShape_F{i}" for i in range(4)),
    "Nuclei_AreaShape_Zernike_0_0",
    *(f"Cells_Intensity_MeanIntensity_{channel}" for channel in ("DNA", "ER")),
    "Cells_Correlation_Correlation_DNA_ER",
]


def cells_of(key: str, rng: np.random.Generator) -> pl.DataFrame:
    """9 to 13 cells in each of two sites of twelve wells; six wells are controls, B06 has no cell."""
    rows = []
    for number, well in enumerate(WELLS[:-1]):
        for site in (1, 2):
            count = 9 + (number + site) % 5
            values = rng.normal(number % 3 + (key == "P1"), 1, (count, len(FEATURES)))
            place = pl.DataFrame({"Metadata_Plate": key, "Metadata_Well": well, "Metadata_Site": site})
            keys = place.join(pl.DataFrame({"ObjectNumber": range(1, count + 1)}), how="cross")
            rows.append(pl.concat([keys, pl.DataFrame(values, schema=FEATURES)], how="horizontal"))
    return pl.concat(rows)


def annotation(key: str) -> pl.DataFrame:
    kinds = ["negcon" if i < 6 else None for i in range(12)]
    return pl.DataFrame({
        "Metadata_Plate": key, "Metadata_Well": WELLS, "Metadata_Row": [1] * 6 + [2] * 6,
        "Metadata_Col": [*range(1, 7), *range(1, 7)], "Metadata_control_type": kinds,
        "Metadata_Perturbation": ["control" if kind else f"t{i % 3}" for i, kind in enumerate(kinds)],
        "Metadata_Count_Cells": [20] * 11 + [0], "Metadata_normalized_on": "negcon",
    })  # fmt: skip


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(str(tmp_path / "lake"))
    rng = np.random.default_rng(0)
    for key in PLATES:
        cells = cells_of(key, rng)
        wells = annotation(key).join(aggregate(cells).drop("Metadata_Count_Cells"), on=KEYS, how="left")
        commit_tables(lake, "single_cells", plate(key), {"single_cells": cells})
        hit = cells.filter(Metadata_Well="A02", ObjectNumber=1).select(*KEYS, "Metadata_Site", "ObjectNumber")
        tables = {"well_profiles": wells.drop("Metadata_normalized_on"), "normalized_profiles": wells}
        commit_tables(lake, "well_profiles", plate(key), {**tables, "implausible_cells": hit})
    return lake


def cells(lake: Lake) -> pl.DataFrame:
    return lake.latest(["single_cells"], map(plate, PLATES)).scan("single_cells", PLATES).collect()


def study_of(spaces: Mapping[str, Any], **others: Any) -> Study:
    return Study.model_validate({"name": "s", "title": "S", "spaces": spaces, "evaluators": {}, **others})


def make(lake: Lake, study: Study) -> None:
    for stage, function in (("feature_space", build_spaces), ("corrected_profiles", correct_spaces)):
        work = study_work(lake, stage, study, dict.fromkeys(PLATES))
        function(work)
        commit_work(work)


def space_of(lake: Lake, steps: list[Any], **config: Any) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(the rows of the space `mine`, its steps)."""
    make(lake, study_of({"mine": {"of": "cells", "steps": steps, **config}}))
    found = read_space(tables_of(lake, "corrected_profiles"), "s", "mine", "selected")
    return found, last(lake, "feature_space", "space_steps", "s").filter(space="mine")


def test_scale_then_components_of_cells_then_the_median(lake: Lake) -> None:
    """Reduced before it is aggregated: equal to the same done on all cells at once."""
    found, steps = space_of(lake, [
        {"normalize": {"method": "standardize"}}, {"reduce": {"components": 3}}, {"aggregate": {"to": "well"}},
    ])  # fmt: skip
    whole = cells(lake).join(pl.concat(map(annotation, PLATES)), on=KEYS, how="left", maintain_order="left")
    scaled = normalize(whole, NormalizeConfig(method="standardize"), FEATURES)
    turned = correct_pca(scaled, FEATURES, PcaConfig(components=3))
    expected = aggregate(turned.profiles, KEYS, None, turned.features)
    assert found.height == 22  # the well without cells has no place
    both = [frame.sort(KEYS).select(turned.features).to_numpy() for frame in (found, expected)]
    np.testing.assert_allclose(*both, rtol=1e-4, atol=1e-5)  # the lake holds float32
    controls = whole.filter(Metadata_control_type="negcon").height
    assert steps.select("step", "level", "fitted_on", "rows_fitted", "features").rows() == [
        ("cells", "cell", None, None, 8),
        ("normalize", "cell", "negcon, each plate by itself", controls, 8),
        ("reduce", "cell", "all", whole.height, 3),
        ("aggregate", "cell to well", None, None, 3),
    ]
    assert steps["note"][2].startswith("3 components hold ")
    assert found["Metadata_normalized_on"].unique().to_list() == ["negcon"]


def test_a_subset_and_a_ladder_of_levels(lake: Lake) -> None:
    found, steps = space_of(lake, [
        {"subset": {"modules": ["AreaShape"], "without": "Zernike"}},
        {"aggregate": {"to": "site", "method": "median", "spread": "mad"}},
        {"aggregate": {"to": "well", "method": "mean"}},
    ])  # fmt: skip
    shapes = FEATURES[:4]
    assert space_features(found) == [*shapes, *(f"{name}_MAD" for name in shapes)]
    values = cells(lake).filter(Metadata_Plate="P0", Metadata_Well="A03")
    sites = [rows[shapes[0]].to_numpy() for rows in values.partition_by("Metadata_Site")]
    medians = [np.median(site) for site in sites]
    spreads = [np.median(np.abs(site - np.median(site))) for site in sites]
    row = found.filter(Metadata_Plate="P0", Metadata_Well="A03")
    assert row[shapes[0]][0] == pytest.approx(np.mean(medians), rel=1e-5)
    assert row[f"{shapes[0]}_MAD"][0] == pytest.approx(np.mean(spreads), rel=1e-5)
    assert "Metadata_normalized_on" not in found.columns or found["Metadata_normalized_on"].null_count() == 22
    assert steps["level"].to_list() == ["cell", "cell", "cell to site", "site to well"]


def test_sites_are_kept_apart(lake: Lake) -> None:
    found, _ = space_of(lake, [{"aggregate": {"to": "site"}}, {"normalize": {}}, {"select": {}}])
    assert found.height == 44
    assert found["Metadata_Count_Cells"].min() == 9  # of the site
    assert last(lake, "feature_space", "profiles", "s").is_empty()
    assert tables_of(lake, "corrected_profiles").read("site_profiles", "s")["Metadata_Perturbation"].null_count() == 0


def test_sites_are_corrected_and_tuned_beside_wells(lake: Lake) -> None:
    spaces = {"image": {"of": "cells", "steps": [{"aggregate": {"to": "site"}}]}, "well": {"of": "wells"}}
    sweep = {"corrector": "sphering", "method": "ZCA", "sweep": {"values": [10]}}
    study = study_of(spaces, corrections=[{"corrector": "clip", "limit": 1.5}, sweep])
    more = [f"t{i}" for i in range(6)]
    for key in PLATES:
        for name in ("well_profiles", "normalized_profiles"):
            frame = last(lake, "well_profiles", name, key)
            treated = pl.Series("Metadata_Perturbation", ["control"] * 6 + more)
            commit_tables(lake, "well_profiles", plate(key), {name: frame.with_columns(treated)})
    work = study_work(lake, "feature_space", study, dict.fromkeys(PLATES))
    build_spaces(work)
    commit_work(work)
    work = study_work(lake, "corrected_profiles", study.model_copy(update={"corrections": study.corrections[:1]}), {})
    correct_spaces(work)
    commit_work(work)
    tables = tables_of(lake, "evaluation")
    sites, wells = (read_space(tables, "s", name, "clip") for name in ("image", "well"))
    assert (sites.height, wells.height) == (44, 22)
    assert sites.select(pl.col(space_features(sites)).abs().max()).max_horizontal()[0] <= 1.5
    marks = [
        frame.group_by("Metadata_Perturbation").agg(pl.col("Metadata_tuning").unique()) for frame in (sites, wells)
    ]
    of_sites, of_wells = (dict(each.iter_rows()) for each in marks)
    assert {name: of_wells[name] for name in of_sites} == of_sites
    assert as_wells(sites).height == 22


def test_a_selection_of_cells_is_judged_on_a_sample(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(algebra, "SAMPLE", 100)
    copies = cells(lake).with_columns(pl.col(FEATURES[0]).alias("Nuclei_AreaShape_Twin"), Nuclei_AreaShape_Flat=1.0)
    for key in PLATES:
        commit_tables(lake, "single_cells", plate(key), {"single_cells": copies.filter(Metadata_Plate=key)})
    found, steps = space_of(lake, [{"normalize": {"flat": "zero"}}, {"select": {}}, {"aggregate": {}}])
    assert steps["note"][2] == f"judged on a sample of 100 of {copies.height} cells"
    assert set(space_features(found)) <= {*FEATURES, "Nuclei_AreaShape_Twin"}
    dropped = last(lake, "feature_space", "feature_selection", "s")["feature"].to_list()
    assert {"Nuclei_AreaShape_Flat"} < set(dropped)


def test_cells_with_gaps_are_counted_and_left_out_of_components(lake: Lake) -> None:
    gaps = cells(lake).with_columns(
        pl.when(pl.col("ObjectNumber") == 1).then(None).otherwise(pl.col(FEATURES[0])).alias(FEATURES[0])
    )
    for key in PLATES:
        commit_tables(lake, "single_cells", plate(key), {"single_cells": gaps.filter(Metadata_Plate=key)})
    _, steps = space_of(lake, [{"reduce": {"variance": 0.9}}, {"aggregate": {}}])
    assert steps["note"][1].endswith("44 rows with a missing value left out")
    empty = gaps.with_columns(pl.lit(None, pl.Float64).alias(FEATURES[1]))
    commit_tables(lake, "single_cells", plate("P1"), {"single_cells": empty.filter(Metadata_Plate="P1")})
    with pytest.raises(InputError, match=r"space mine, step 1 \(reduce\).*plate P1: found no row with every feature"):
        space_of(lake, [{"reduce": {}}, {"aggregate": {}}])


def test_implausible_cells_can_be_left_out(lake: Lake) -> None:
    without, _ = space_of(lake, [{"aggregate": {"method": "mean"}}], implausible=False)
    values = cells(lake).filter(Metadata_Plate="P0", Metadata_Well="A02").filter(pl.col("ObjectNumber") > 1)
    row = without.filter(Metadata_Plate="P0", Metadata_Well="A02")
    assert row[FEATURES[0]][0] == pytest.approx(values[FEATURES[0]].mean(), rel=1e-5)


def test_blocks_of_a_fusion_have_one_length(lake: Lake) -> None:
    """By hand: each block's rows have the mean square 1, whatever its unit and its number of features."""
    make(lake, study_of({
        "dna": {"of": "wells", "steps": [{"subset": {"channels": ["DNA"]}}]},
        "shape": {"of": "wells", "steps": [{"subset": {"modules": ["AreaShape"]}}]},
        "both": {"of": "space", "space": "dna", "steps": [{"join": {"spaces": ["shape", "cell_count"]}}]},
        "cell_count": {"of": "cell_count"},
    }))  # fmt: skip
    found = read_space(tables_of(lake, "corrected_profiles"), "s", "both", "selected")
    blocks = {name: [each for each in space_features(found) if each.startswith(f"Joined_{name}_")]
              for name in ("dna", "shape", "cell_count")}  # fmt: skip
    assert [len(names) for names in blocks.values()] == [1, 5, 2]
    assert found.height == 22
    for names in blocks.values():
        values = found.select(names).to_numpy()
        assert (values**2).sum(axis=1).mean() == pytest.approx(1, rel=1e-5)
    note = last(lake, "feature_space", "space_steps", "s").filter(space="both", step="join")["note"][0]
    assert note == "dna: 1 features, weight 1; shape: 5 features, weight 1; cell_count: 2 features, weight 1"


def test_a_table_of_one_s_own_is_a_space(lake: Lake, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    rows = [f"{key},{well},{i},{i * i}" for key in PLATES for i, well in enumerate(WELLS[:10])]
    file.write_text("\n".join(["Metadata_Plate,Metadata_Well,net_a,net_b", *rows]) + "\n")
    make(lake, study_of({"mine": {"of": "table", "file": str(file), "features": ["net_"]}}))
    found = read_space(tables_of(lake, "corrected_profiles"), "s", "mine", "selected")
    assert space_features(found) == ["Embedding_net_a", "Embedding_net_b"]
    assert (found.height, found["Metadata_Perturbation"].null_count()) == (20, 0)
    notes = last(lake, "feature_space", "correction_notes", "s")["note"].to_list()
    assert notes == [f"4 of 24 wells are not in {file}"]
    file.write_text("\n".join(["Metadata_Plate,Metadata_Well,net_a", *(row[:8] for row in rows[:10])]) + "\n")
    with pytest.raises(InputError, match="plate P1: found no row of its wells"):
        make(lake, study_of({"mine": {"of": "table", "file": str(file), "features": ["net_"]}}))


def test_a_list_may_say_how_its_wells_become_treatments(lake: Lake) -> None:
    steps = [{"aggregate": {"to": "well"}}, {"aggregate": {"to": "treatment", "method": "mean"}}]
    study = study_of({"mine": {"of": "cells", "steps": steps}, "other": {"of": "wells"}})
    make(lake, study)
    work = study_work(lake, "treatment_profiles", study, dict.fromkeys(PLATES))
    consensus_spaces(work)
    commit_work(work)
    found = last(lake, "treatment_profiles", "treatment_profiles", "s")
    wells = read_space(tables_of(lake, "corrected_profiles"), "s", "mine", "selected")
    wells = wells.filter(Metadata_Perturbation="t0")[FEATURES[0]]
    values = {space: rows.filter(treatment="t0")[FEATURES[0]][0] for (space,), rows in found.group_by("space")}
    assert values == {"mine": pytest.approx(wells.mean(), rel=1e-5), "other": pytest.approx(wells.median(), rel=1e-5)}


def test_features_of_whole_images_are_a_space_of_sites(lake: Lake) -> None:
    rng = np.random.default_rng(0)
    for key in PLATES:
        places = [(key, well, site, channel) for well in WELLS for site in (1, 2) for channel in ("DNA", "ER")]
        frame = pl.DataFrame(places, schema=[*KEYS, "Metadata_Site", "channel"], orient="row").with_columns(
            ImageQuality_FocusScore=pl.Series(rng.random(len(places))),
            Field_Correlation=pl.Series(rng.random(48)),
            flag_blurred=False,
        )
        commit_tables(lake, "image_quality", plate(key), {"image_quality": frame})
    make(lake, study_of({"mine": {"of": "images"}, "well": {"of": "space", "space": "mine", "steps": SHORT}}))
    tables = tables_of(lake, "corrected_profiles")
    sites, wells = (read_space(tables, "s", name, "selected") for name in ("mine", "well"))
    features = [
        f"{name}_{channel}" for channel in ("DNA", "ER") for name in ("ImageQuality_FocusScore", "Field_Correlation")
    ]
    assert space_features(sites) == space_features(wells) == features
    assert (sites.height, wells.height) == (48, 24)
    both = sites.filter(Metadata_Plate="P1", Metadata_Well="B02")[features[3]]
    assert wells.filter(Metadata_Plate="P1", Metadata_Well="B02")[features[3]][0] == pytest.approx(
        both.median(), rel=1e-5
    )


def test_pixels_are_means_of_their_part_of_the_image(lake: Lake, tmp_path: Path) -> None:
    """A bright quarter is a bright pixel; a site whose image is gone for good has no row."""
    sources = {}
    for key in PLATES:
        sites, files = [], []
        for well in WELLS[:3]:
            image = np.zeros((32, 32), np.uint16)
            image[:16, 16:] = 1000 * (1 + WELLS.index(well))
            path = tmp_path / f"{key}-{well}.tif"
            tifffile.imwrite(path, image)
            place = {
                "Metadata_Plate": key,
                "Metadata_Well": well,
                "Metadata_Site": 1,
                "channel": "DNA",
                "uri": str(path),
            }
            sites.append({**place, "source": "lab"})
            files.append({**place, "path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
        commit_tables(lake, "plate_manifest", plate(key), {"sites": pl.DataFrame(sites)})
        commit_tables(lake, "raw_images", plate(key), {"image_files": pl.DataFrame(files)})
        commit_tables(lake, "illumination", plate(key),
                      {"illumination_functions": declared("illumination_functions").empty()})  # fmt: skip
        sources[key] = SamplesheetSource(kind="samplesheet", name="lab", path="none.csv")
    study = study_of({
        "mine": {"of": "pixels", "size": 2},
        "components": {"of": "pixels", "size": 2, "steps": [{"reduce": {"components": 2}}, {"aggregate": {}}]},
    })  # fmt: skip
    work = study_work(lake, "feature_space", study, sources)
    build_spaces(work)
    commit_work(work)
    found = last(lake, "feature_space", "site_profiles", "s")
    names = [f"Pixel_DNA_{row}_{column}" for row in (0, 1) for column in (0, 1)]
    assert space_features(found) == names
    values = found.filter(Metadata_Plate="P0").select(names).to_numpy() * 65535
    np.testing.assert_allclose(values.argmax(axis=1), 1)
    np.testing.assert_allclose(values[:, 1] / values[0, 1], [1, 2, 3], rtol=1e-4)
    steps = last(lake, "feature_space", "space_steps", "s").filter(space="components")
    assert steps["rows_fitted"].to_list() == [None, 6, None]
    assert space_features(last(lake, "feature_space", "profiles", "s")) == ["PC_0001"]  # one direction is all there is


def test_an_embedding_of_cells_through_a_list(lake: Lake) -> None:
    rng = np.random.default_rng(0)
    for key in PLATES:
        keys = cells(lake).filter(Metadata_Plate=key).select(*KEYS, "Metadata_Site", "ObjectNumber")
        vectors = pl.Series("embedding", rng.normal(size=(keys.height, 3)).tolist(), dtype=pl.List(pl.Float32))
        frame = keys.with_columns(vectors, study=pl.lit("s"), encoder=pl.lit("net"))
        commit_tables(lake, "embeddings", plate(key, "s/net"), {"embeddings": frame})
    steps = [{"reduce": {"components": 2}}, {"aggregate": {"method": "trimmed_mean"}}, {"normalize": {}}]
    encoders = {"net": {"kind": "vae", "untrained": True}}
    spaces = {"net": {"of": "embedding"}, "mine": {"of": "embedding", "encoder": "net", "steps": steps}}
    make(lake, study_of(spaces, encoders=encoders))
    tables = tables_of(lake, "corrected_profiles")
    assert space_features(read_space(tables, "s", "net", "selected")) == [f"Embedding_{i}" for i in range(3)]
    mine = read_space(tables, "s", "mine", "selected")
    assert (space_features(mine), mine.height) == (["PC_0001", "PC_0002"], 22)


def test_late_fusion_at_any_dimension_and_steps_after_it(lake: Lake) -> None:
    """Components of one space joined with another, as published (3, 50), and the whole brought to components again."""
    few = {"reduce": {"components": 3}}
    spaces = {
        "cells": {"of": "cells", "select": None},
        "noise": {"of": "noise", "numbers": 5},
        "late": {"of": "space", "space": "cells", "steps": [few, {"join": {"spaces": ["noise"]}}]},
        "again": {"of": "space", "space": "late", "steps": [{"reduce": {"components": 4}}]},
        "first": {"of": "space", "space": "cells", "steps": [{"join": {"spaces": ["noise"]}}, few]},
    }
    make(lake, study_of(spaces))
    tables = tables_of(lake, "corrected_profiles")
    found = {name: read_space(tables, "s", name, "selected") for name in spaces}
    late = found["late"]
    cells = [f"Joined_cells_PC_{number:04d}" for number in (1, 2, 3)]
    noise = [f"Joined_noise_Noise_{number}" for number in range(5)]
    assert sorted(space_features(late)) == sorted([*cells, *noise])
    for block in (cells, noise):
        assert (late.select(block).to_numpy() ** 2).sum(axis=1).mean() == pytest.approx(1, rel=1e-4)
    assert space_features(found["again"]) == [f"PC_{number:04d}" for number in range(1, 5)]
    assert space_features(found["first"]) == [f"PC_{number:04d}" for number in range(1, 4)]
    assert {frame.height for name, frame in found.items() if name != "noise"} == {22}
    steps = last(lake, "feature_space", "space_steps", "s").filter(space="late").sort("number")
    assert steps["step"].to_list() == ["space", "reduce", "join"]
    assert "cells: 3 features, weight 1; noise: 5 features, weight 1" in steps["note"][2]


def test_noise_is_the_same_for_a_well_whatever_else_is_there_and_says_nothing(lake: Lake) -> None:
    spaces = {"a": {"of": "noise"}, "b": {"of": "noise", "numbers": 3, "seed": 1}, "c": {"of": "noise", "numbers": 3}}
    make(lake, study_of(spaces))
    tables = tables_of(lake, "corrected_profiles")
    a, b, c = (read_space(tables, "s", name, "selected") for name in "abc")
    assert a.height == 24  # also the wells without cells
    values = a.select(space_features(a)).to_numpy()
    assert values.shape == (24, 64)
    assert abs(values.mean()) < 0.1
    assert values.std() == pytest.approx(1, abs=0.1)
    assert np.abs(np.corrcoef(values) - np.eye(24)).max() < 0.6
    np.testing.assert_array_equal(a.select(space_features(c)).to_numpy(), c.select(space_features(c)).to_numpy())
    assert not np.allclose(b.select(space_features(b)).to_numpy(), c.select(space_features(c)).to_numpy())


def test_the_spaces_of_the_page_on_profiles_are_made(lake: Lake) -> None:
    rng = np.random.default_rng(0)
    [text] = [each for each in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL) if "  fused:" in each]
    study = Study.model_validate({"name": "s", "title": "S", "evaluators": {}, **yaml.safe_load(text)})
    for key in PLATES:
        keys = cells(lake).filter(Metadata_Plate=key).select(*KEYS, "Metadata_Site", "ObjectNumber")
        vectors = pl.Series("embedding", rng.normal(size=(keys.height, 8)).tolist(), dtype=pl.List(pl.Float32))
        for encoder in study.encoders:
            frame = keys.with_columns(vectors, study=pl.lit("s"), encoder=pl.lit(encoder))
            commit_tables(lake, "embeddings", plate(key, f"s/{encoder}"), {"embeddings": frame})
        sites = keys.select(*KEYS, "Metadata_Site").unique().with_columns(channel=pl.lit("DNA"))
        focus = pl.Series("ImageQuality_FocusScore", rng.random(sites.height))
        commit_tables(lake, "image_quality", plate(key), {"image_quality": sites.with_columns(focus)})
    make(lake, study)
    tables = tables_of(lake, "corrected_profiles")
    rows = {name: read_space(tables, "s", name, "selected") for name in study.spaces}
    assert {name: frame.height for name, frame in rows.items()} == {
        **dict.fromkeys(study.spaces, 22), "network_by_site": 44, "network_by_site_untrained": 44,
    }  # fmt: skip
    features = {name: space_features(frame) for name, frame in rows.items()}
    assert features["dna"] == ["Cells_Intensity_MeanIntensity_DNA"]
    assert not [name for name in features["shapes"] if "AreaShape" not in name or "Zernike" in name]
    assert len(features["fused"]) == len(features["cellprofiler"]) + len(features["network"])


SHORT = [{"aggregate": {}}]


@pytest.mark.parametrize(
    ("spaces", "message"),
    [
        ({"a": {"of": "cels"}}, r"key spaces.a: found .* Did you mean cells\?"),
        ({"a": {"of": "cells", "stpes": []}}, r"key spaces.a.cells.stpes: .* Did you mean steps\?"),
        ({"a": {"of": "cells", "steps": [{"subest": {}}]}}, r"steps.0.subest: .* Did you mean subset\?"),
        ({"a": {"of": "cells", "steps": [{"select": None}]}},
         "expected exactly one of subset, .* in a step, such as `select: {}`; there are 0"),
        ({"a": {"of": "cells", "steps": [{"normalize": {}}]}},
         r"spaces.a: found a list that ends with cells; .*to: well"),
        ({"a": {"of": "cells", "steps": [{"correct": {"corrector": "harmony"}}, *SHORT]}},
         r"spaces.a, step 1: found harmony of cells, which are streamed .* Aggregate to sites or wells before it"),
        ({"a": {"of": "wells", "steps": SHORT}}, "spaces.a, step 1: found aggregate to well of wells"),
        ({"a": {"of": "cells", "steps": [{"aggregate": {"to": "treatment"}}]}}, "aggregate to treatment of cells"),
        ({"a": {"of": "wells", "steps": [{"aggregate": {"to": "treatment"}}, {"select": {}}]}}, "before other steps"),
        ({"cellprofiler": {"of": "cells"}, "b": {"of": "space", "space": "celprofiler"}},
         r"spaces.b: found the space celprofiler, .* Did you mean cellprofiler\?"),
        ({"a": {"of": "space", "space": "b"}, "b": {"of": "wells", "steps": [{"join": {"spaces": ["a"]}}]}},
         "found a from b from a; expected spaces that are not made from themselves"),
        ({"a": {"of": "images"}, "b": {"of": "wells", "steps": [{"join": {"spaces": ["a"]}}]}},
         "join of a, whose rows are sites, to wells"),
        ({"a": {"of": "images", "recipe": "efaar"}}, "the recipe efaar of sites"),
        ({"a": {"of": "wells", "steps": [{"correct": {"corrector": "sphering", "sweep": {}}}]}},
         "step 1: found a sweep"),
    ],
)  # fmt: skip
def test_a_wrong_space_is_one_message(tmp_path: Path, spaces: dict[str, Any], message: str) -> None:
    content = {"name": "mine", "title": "M", "spaces": spaces, "evaluators": {}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=message) as error:
        load_study("mine", tmp_path)
    assert str(tmp_path / "mine.yaml") in str(error.value)
