"""Published well profiles: which files, which names of features, and what text stays text."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.gallery.account import Account
from morpho_assets.gallery.image_table import CellProfilerConfig
from morpho_assets.gallery.published import read_wells

WELLS = pl.DataFrame(
    {"Metadata_Plate": ["0042"] * 3, "Metadata_Well": ["A1", "a02", "B03"], "Metadata_dose": [0.5, 10.0, 2.0],
     "Metadata_batch": ["001", "1E5", "12"], "Cells_A": [1.0, None, 3.0], "Nuclei_B": [1, 2, 3]}
)  # fmt: skip


def anndata(file: Path, frame: pl.DataFrame, features: list[str], sparse: bool = False) -> Path:
    """The frame as anndata writes it: metadata in obs, features in X."""
    import pandas as pd
    from scipy.sparse import csc_matrix

    from_anndata = pytest.importorskip("anndata")
    metadata = frame.drop(features).to_dict(as_series=False)
    obs = pd.DataFrame({name: np.array(values, object) for name, values in metadata.items()}, dtype=object)
    obs.index = pd.Index([str(i) for i in range(frame.height)], dtype=object)
    for name in frame.drop(features).columns:
        obs[name] = pd.Categorical(obs[name]) if frame[name].dtype == pl.String else obs[name].astype(float)
    values = frame.select(pl.col(features).cast(pl.Float64)).to_numpy()
    var = pd.DataFrame(index=pd.Index(np.array(features, object), dtype=object))
    data = from_anndata.AnnData(csc_matrix(np.nan_to_num(values)) if sparse else values, obs=obs, var=var)
    data.write_h5ad(file)
    return file


def written(folder: Path, kind: str, frame: pl.DataFrame = WELLS) -> Path:
    file = folder / f"P.{kind}"
    text = frame.write_csv().encode()
    if kind == "parquet":
        frame.write_parquet(file)
    elif kind == "h5ad":
        anndata(file, frame, [name for name in frame.columns if not name.startswith("Metadata_")])
    else:
        file.write_bytes(gzip.compress(text) if kind == "csv.gz" else text)
    return file


@pytest.mark.filterwarnings("ignore")  # of anndata's, which writes the file
@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet", "h5ad"])
def test_the_same_profiles_from_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    wells = read_wells(written(tmp_path, kind))
    assert wells.rows() == [
        ("0042", "A01", 0.5, "001", 1.0, 1.0),
        ("0042", "A02", 10.0, "1E5", None, 2.0),
        ("0042", "B03", 2.0, "12", 3.0, 3.0),
    ]
    assert wells.schema["Cells_A"] == wells.schema["Nuclei_B"] == pl.Float64


@pytest.mark.filterwarnings("ignore")
def test_a_sparse_matrix_and_bare_names_of_observations(tmp_path: Path) -> None:
    frame = WELLS.rename({"Metadata_Plate": "Plate", "Metadata_Well": "Well"})
    wells = read_wells(anndata(tmp_path / "P.h5ad", frame, ["Cells_A", "Nuclei_B"], sparse=True))
    assert wells.select("Metadata_Plate", "Metadata_Well", "Cells_A", "Nuclei_B").rows() == [
        ("0042", "A01", 1.0, 1.0), ("0042", "A02", 0.0, 2.0), ("0042", "B03", 3.0, 3.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "asked", "expected"),
    [
        (["efficientnet_0", "efficientnet_1", "efficientnet_2"], (), "Embedding_efficientnet_{}"),
        (["f1", "f2", "f3"], (), "Embedding_f{}"),
        (["Embedding_0", "Embedding_1", "Embedding_2"], (), "Embedding_{}"),
        (["dino_a", "dino_b", "dino_c"], ("dino_",), "Embedding_dino_{}"),
        (["Cells_Custom_a", "Cells_Custom_b", "Cells_Custom_c"], (), "Cells_Custom_{}"),
        (["Nucleoli_Texture_a", "Nucleoli_Texture_b", "Nucleoli_Texture_c"], (), "Nucleoli_Texture_{}"),
    ],
    ids=["deepprofiler", "from-1", "ours", "asked", "cellprofiler", "further"],
)
def test_features_by_any_name(tmp_path: Path, names: list[str], asked: tuple[str, ...], expected: str) -> None:
    values = {name: [float(i), 2.0, 3.0] for i, name in enumerate(names)}
    frame = WELLS.select("Metadata_Plate", "Metadata_Well").with_columns(**{k: pl.Series(v) for k, v in values.items()})
    frame = frame.with_columns(Count=pl.Series([1, 2, 3]), note=pl.Series(["x", "y", "z"]))
    account = Account()
    wells = read_wells(written(tmp_path, "csv", frame), features=asked, account=account)
    ends = [name.rsplit("_", 1)[-1].lstrip("f") for name in names]
    assert wells.columns[2:] == [expected.format(end) for end in ends]
    assert account.left_out == {"Count": "no feature"}


def test_what_a_feature_holds_beside_numbers_is_told(tmp_path: Path) -> None:
    frame = WELLS.with_columns(pl.Series("Cells_A", ["1", "#DIV/0!", "inf"]), pl.Series("Cells_C", ["low", "2", ""]),
                               pl.Series("Cells_D", ["", "", ""]))  # fmt: skip
    account = Account()
    wells = read_wells(written(tmp_path, "csv", frame), account=account)
    assert wells["Cells_A"].to_list() == [1.0, None, None]
    assert wells["Cells_C"].to_list() == [None, 2.0, None]
    assert wells["Cells_D"].to_list() == [None] * 3
    assert account.text == {"Cells_C": "low"}


def test_plate_and_well_by_other_names_or_from_the_settings(tmp_path: Path) -> None:
    names = {"Metadata_Plate": "Image_Metadata_Plate", "Metadata_Well": "Image_Metadata_Well",
             "Metadata_batch": "Image_Metadata_batch"}  # fmt: skip
    wells = read_wells(written(tmp_path, "csv", WELLS.rename(names)))
    assert wells.select("Metadata_Plate", "Metadata_Well", "Metadata_batch").row(0) == ("0042", "A01", "001")
    bare = written(tmp_path, "csv", WELLS.drop("Metadata_Plate").rename({"Metadata_Well": "position"}))
    config = CellProfilerConfig(well="position", defaults={"plate": "0042"})
    assert read_wells(bare, config=config)["Metadata_Well"].to_list() == ["A01", "A02", "B03"]
    number = written(tmp_path, "parquet", WELLS.with_columns(Metadata_Plate=pl.lit(42)))
    assert read_wells(number, config=CellProfilerConfig(defaults={"plate": "0042"}))["Metadata_Plate"][0] == "0042"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Metadata_Well,Cells_A\nA01,1\n", "header: found no Metadata_Plate"),
        ("Metadata_Plate,Metadata_Well,Cells_A\nP,a1,1\nP,A01,2\n", "well A01: found 2 rows of wells that come twice"),
        ("Metadata_Plate,Metadata_Well,Cells_A\nP,Z99,1\n", "row 2, column Metadata_Well: found 'Z99'"),
        ("Metadata_Plate;Metadata_Well;Cells_A\nP;A1;1,5\n", "found semicolons between the columns; .*points"),
        ("Metadata_Plate,Metadata_Well,Cells_A\nP,A1\n", "row 2: found 2 cells; expected 3"),
        ("Metadata_Plate,Metadata_Well,score\nP,A1,1\n", r"expected features that start with Nuclei_.*`features`"),
        ("", "found an empty file"),
    ],
)
def test_files_that_do_not_fit_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "P.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_wells(tmp_path / "P.csv")


@pytest.mark.parametrize("kind", ["csv.gz", "parquet", "h5ad"])
def test_files_that_are_cut_off_are_named(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"P.{kind}"
    if kind == "h5ad":
        import h5py

        with h5py.File(file, "w") as content:
            content["obs"] = np.zeros(2000)
    else:
        written(tmp_path, kind)
    whole = file.read_bytes()
    for body in (whole[: len(whole) // 2], b"x" * 50, b""):
        file.write_bytes(body)
        with pytest.raises(InputError, match=rf"P.{kind}.*found "):
            read_wells(file)


def test_real_profiles(reference_data: Path) -> None:
    lincs = read_wells(reference_data / "lincs_SQ00015054/SQ00015054_normalized_feature_select.csv.gz")
    assert lincs.height == 384
    stages = [reference_data / f"pediatric_bulk_profiles/BR00148751_bulk_{stage}.parquet"
              for stage in ("annotated", "normalized")]  # fmt: skip
    annotated, normalized = map(read_wells, stages)
    features = [name for name in annotated.columns if not name.startswith("Metadata_")]
    assert len(features) == 2996
    assert annotated.select("Metadata_Plate", "Metadata_Well").equals(
        normalized.select("Metadata_Plate", "Metadata_Well")
    )
