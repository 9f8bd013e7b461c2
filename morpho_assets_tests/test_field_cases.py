"""Users' cases through every stage of a plate: planes of one file give the cells that files of their own give."""

import shutil

import pytest

from morpho_assets_tests.project import make_project

pytestmark = pytest.mark.slow
CASE = "frame-columns-multichannel"
LOAD_DATA = "gallery/cpg9/src/workspace/load_data_csv/b1/P1/load_data.csv"


def cells(folder, place):
    """The plate's cells, and the planes of its images."""
    source = {"name": "lab", "kind": "gallery", "root": str(place / "gallery"), "project": "cpg9", "source": "src"}
    source["replace"] = {f"/data/field_cases/{CASE}": str(place)}
    project = make_project(folder, sources=[source], illumination={"method": "none"},
                           profiles={"normalize": {"too_few": "all"}})  # fmt: skip
    project.run("run", "--plate", "P1")
    return project.read("single_cells", "P1"), project.read("image_files", "P1")["frame"].to_list()


def test_planes_of_one_file_give_the_cells_of_files_of_their_own(tmp_path, reference_data):
    place = tmp_path / "case"
    shutil.copytree(reference_data / "field_cases" / CASE, place, copy_function=shutil.copyfile)
    found, planes = cells(tmp_path / "planes", place)
    assert planes == [0, 1] * 4
    file = place / LOAD_DATA
    header, *rows = (line.split(",") for line in file.read_text().splitlines())
    names = {column: index for index, column in enumerate(header)}
    for row in rows:
        for channel in ("DNA", "RNA"):
            row[names[f"FileName_Orig{channel}"]] = f"{row[names['Metadata_Well']]}_s1_{channel}.tiff"
            row[names[f"Frame_Orig{channel}"]] = ""
    file.write_text("\n".join(",".join(row) for row in (header, *rows)) + "\n")
    expected, planes = cells(tmp_path / "files", place)
    assert planes == [None] * 8
    assert found.height > 10
    assert found.equals(expected)
