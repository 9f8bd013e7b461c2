import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from morpho_assets.errors import InputError
from morpho_assets.gallery.platemap import join_metadata, read_platemap
from morpho_assets.gallery.treatments import annotate_wells, dose_text
from morpho_assets_tests.gallery.test_platemap import COMPOUNDS, PLATEMAP


def annotated(perturbation=None, negative_controls=(), **columns):
    names = [f"A{number:02d}" for number in range(1, 1 + len(next(iter(columns.values()))))]
    wells = pl.DataFrame({"Metadata_Well": names, **columns})
    return annotate_wells(wells, "map.txt", perturbation, negative_controls)


def names(**options):
    return annotated(**options)["Metadata_Perturbation"].to_list()


def controls(**options):
    return annotated(**options)["Metadata_control_type"].to_list()


def test_wells_know_their_treatment_and_controls():
    wells, _ = join_metadata(read_platemap(PLATEMAP, "m"), {"c.tsv": COMPOUNDS})
    found = annotate_wells(wells, "m")
    assert found["Metadata_Perturbation"].to_list() == ["BRD-1", "DMSO", "BRD-2"]
    assert found["Metadata_pert_type"].to_list() == ["trt", "control", "control"]
    assert found["Metadata_control_type"].to_list() == [None, "negcon", "poscon_cp"]
    assert found.select("Metadata_Row", "Metadata_Col").rows() == [(1, 1), (1, 2), (1, 3)]


def test_without_metadata_the_solvent_names_the_negative_controls():
    found = annotate_wells(read_platemap(PLATEMAP, "m"), "m")
    assert found["Metadata_control_type"].to_list() == [None, "negcon", None]
    assert found["Metadata_pert_type"].to_list() == ["trt", "control", "trt"]


def test_an_empty_well_without_solvent_is_empty():
    assert annotated(broad_sample=["BRD-1", None])["Metadata_pert_type"].to_list() == ["trt", "empty"]


def test_doses_tell_treatments_apart_where_there_is_more_than_one():
    plate = {"broad_sample": ["B", "B"], "mmoles_per_liter": ["1", "5"]}
    assert names(**plate) == ["B@1", "B@5"]
    assert names(**plate, perturbation=("broad_sample",)) == ["B", "B"]
    assert names(broad_sample=["B", "DMSO"], mmoles_per_liter=["5", "0"]) == ["B", "DMSO"]


@pytest.mark.parametrize(
    ("dose", "text"),
    [("9.99999999999999999", "10"), ("10.0", "10"), ("1e1", "10"), ("0,5", "0.5"), ("0.1234567", "0.1235"),
     ("0.0000123456", "0.00001235"), ("12345.6", "12346"), ("0", "0"), ("-0.0", "0"), ("10 uM", "10 uM"),
     ("nan", "nan"), ("1,000,000", "1,000,000")],
)  # fmt: skip
def test_doses_are_numbers_in_few_digits(dose, text):
    assert dose_text(dose) == text


@given(st.floats(1e-9, 1e9))
def test_a_dose_is_printed_near_itself_and_once_for_all(value):
    text = dose_text(repr(value))
    assert float(text) == pytest.approx(value, rel=6e-4)
    assert dose_text(text) == text
    assert "e" not in text


def test_equal_doses_are_one_treatment_however_they_are_written():
    doses = ["5", "5.0", "5.00000001", "2.5", "0.1"]
    assert names(broad_sample=["B"] * 5, dose_uM=doses) == ["B@5", "B@5", "B@5", "B@2.5", "B@0.1"]
    assert names(gene=["B"] * 2, guide=["001", "1"], perturbation=("gene", "guide")) == ["B@001", "B@1"]


def test_one_control_is_one_treatment_in_any_case_percentage_and_dose():
    samples = ["DMSO", "dmso", "DMSO 0.1%", "0.5 % DMSO", "Dmso (0.1% v/v)", "DMSO_0,1%", "DMSO", "aspirin", "DMSOL"]
    doses = ["0", "0.0", None, "1", "2", "3", "4", "1", "2"]
    found = annotated(broad_sample=samples, mmoles_per_liter=doses, negative_controls=("DMSO",))
    assert found["Metadata_Perturbation"].to_list() == ["DMSO"] * 7 + ["aspirin@1", "DMSOL@2"]
    assert found["Metadata_control_type"].to_list() == ["negcon"] * 7 + [None] * 2


def test_jump_control_types_are_understood():
    found = annotated(JCP2022=["J1", "J2"], pert_type=["negcon", "trt"], negative_controls=("DMSO",))
    assert found["Metadata_control_type"].to_list() == ["negcon", None]
    assert found["Metadata_pert_type"].to_list() == ["control", "trt"]


@pytest.mark.parametrize("kind", ["negcon", "NegCon", "negative control", "neg_ctrl", "vehicle"])
def test_a_negative_control_may_be_called_so_in_other_words(kind):
    assert controls(broad_sample=["X", "Y"], control_type=[kind, None]) == ["negcon", None]
    assert controls(broad_sample=["X", "Y"], pert_type=[kind, "trt"]) == ["negcon", None]


def test_a_control_without_a_type_is_known_by_its_name():
    plate = {"broad_sample": ["X", "Y"], "pert_iname": ["dmso", "AMG900"], "pert_type": ["control", "control"]}
    assert controls(**plate, negative_controls=("DMSO",)) == ["negcon", None]


def test_where_no_column_names_the_treatment_the_columns_are_shown_and_the_setting():
    with pytest.raises(InputError) as error:
        annotated(compound=["DMSO", "taxol", "DMSO"], control_type=["negcon", None, "negcon"])
    assert str(error.value) == (
        "map.txt, row 1: found no column that is known to name the treatment, but compound: DMSO (2), taxol (1); "
        "expected one of Perturbation, broad_sample, JCP2022, pert_iname. Name the columns that do in the source's "
        "`perturbation`, such as `perturbation: [compound]`; [] says that the wells got none."
    )
    assert names(compound=["DMSO", "taxol"], perturbation=("compound",)) == ["DMSO", "taxol"]
    assert names(plate_map_name=["m", "m"], perturbation=()) == ["empty", "empty"]


def test_a_column_that_the_platemap_lacks_is_asked_for():
    with pytest.raises(InputError, match=r"also Metadata_compond. Rename Metadata_compound, if that is it"):
        annotated(compound=["DMSO", "taxol"], perturbation=("compond",))


def test_without_a_negative_control_the_treatments_are_shown_and_the_setting():
    with pytest.raises(InputError) as error:
        annotated(broad_sample=["water", "taxol", "water"], pert_type=["trt"] * 3, negative_controls=("DMSO", "EtOH"))
    assert str(error.value) == (
        "map.txt, treatments: found no negative control among the treatments water (2), taxol (1); pert_type: trt (3); "
        "expected wells of DMSO or EtOH, or control_type negcon. "
        "Name the controls in the source's `negative_controls`; [] says that the plate has none."
    )
    assert controls(broad_sample=["water", "taxol"], negative_controls=("Water",)) == ["negcon", None]
    assert controls(broad_sample=["water", "taxol"], negative_controls=()) == [None, None]


def test_columns_of_one_name_are_one_or_refused():
    found = annotated(broad_sample=["A", "B"], Metadata_broad_sample=["A", "B"], plate=["P", "P"], row=["1", "2"])
    assert [name for name in found.columns if "sample" in name or "plate" in name.lower()] == ["Metadata_broad_sample"]
    assert found["Metadata_Row"].to_list() == [1, 1]
    with pytest.raises(InputError, match="found the columns broad_sample and Broad_Sample; expected names that differ"):
        annotated(broad_sample=["A", "B"], Broad_Sample=["A", "C"])
