"""Images known by their names: the usual microscopes, patterns of one's own, and what is written from them."""

import pytest

from morpho_assets.errors import InputError
from morpho_assets.gallery.file_names import list_images, load_data, samplesheet
from morpho_assets.gallery.load_data import read_load_data
from morpho_assets.gallery.samplesheet import plate_rows, plate_sites, read_samplesheet
from morpho_assets.gallery.store import Store
from morpho_assets_tests.gallery.test_phenix import PLATE, index


def folder(root, *names, plate="P1__2021"):
    for name in names:
        path = root / plate / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"II*\0")
    return f"{root}/{plate}"


def found(root, *names, plate="P1__2021", **options):
    listing = list_images(folder(root, *names, plate=plate), Store(), **options)
    return listing.images.select("plate", "well", "site", "channel").rows()


UUID = "1B9D0B234-C57E-4A13-9664-D2CA89B4E7F8"[1:]
MICROSCOPES = {
    "ImageXpress": ([f"TimePoint_1/P1_A01_s2_w{w}{UUID}.tif" for w in "12"], ("A01", 2, ["Channel1", "Channel2"])),
    "ImageXpress of many": ([f"P1_A01_s10_w{w}.TIF" for w in (1, 12)], ("A01", 10, ["Channel1", "Channel12"])),
    "ImageXpress, one site": ([f"180706_B12_w{w}{UUID}.tif" for w in "12"], ("B12", 1, ["Channel1", "Channel2"])),
    "CellVoyager": (
        [f"CP3-SC1-18_I22_T0001F003L01A0{a}Z01C0{c}.tif" for a, c in ((1, 1), (3, 4))],
        ("I22", 3, ["Channel1", "Channel4"]),
    ),
    "Opera Phenix": (
        [f"Images/r02c11f05p01-ch{c}sk1fk1fl1.tiff" for c in (1, 6)],
        ("B11", 5, ["Channel1", "Channel6"]),
    ),
    "IN Cell": ([f"A - 01(fld 02 wv {c} - {c}).tif" for c in ("DAPI", "FITC")], ("A01", 2, ["DAPI", "FITC"])),
    "ScanR": (
        [f"W00001--A01--P00002--Z00000--T00000--{c}.tif" for c in ("DAPI", "Cy5")],
        ("A01", 2, ["Cy5", "DAPI"]),
    ),
    "plain": ([f"AF48_s1_{c}.png" for c in ("DNA", "ER")], ("AF48", 1, ["ER", "DNA"])),
}


@pytest.mark.parametrize("microscope", MICROSCOPES)
def test_names_of_microscopes_are_understood(tmp_path, microscope):
    names, (well, site, channels) = MICROSCOPES[microscope]
    assert found(tmp_path, *names) == [("P1", well, site, channel) for channel in channels]


def test_a_pattern_of_one_s_own_may_name_the_plate_and_folders(tmp_path):
    names = [
        f"{plate}/{well}/field_{f}-{c}.tif"
        for plate in ("X1", "X2")
        for well in ("a1", "b02")
        for f, c in ((1, "dna"),)
    ]
    assert found(tmp_path, *names, pattern="{plate}/{well}/field_{site}-{channel}", channels={"dna": "DNA"}) == [
        ("X1", "A01", 1, "DNA"), ("X1", "B02", 1, "DNA"), ("X2", "A01", 1, "DNA"), ("X2", "B02", 1, "DNA"),
    ]  # fmt: skip
    assert found(tmp_path / "y", "1_B_07_x.tif", pattern="{site}_{row}_{col}_{channel}") == [("P1", "B07", 1, "x")]


def test_channels_take_our_names_in_the_order_of_the_microscope_s(tmp_path):
    names = [f"P1_A01_s1_w{w}.tif" for w in (10, 2, 1)]
    assert [row[3] for row in found(tmp_path, *names, channels={"1": "DNA", "2": "ER"})] == ["DNA", "ER", "Channel10"]
    with pytest.raises(InputError, match="found 1, 2, 10; expected 7"):
        found(tmp_path, channels={"7": "DNA"})


def test_files_that_hold_all_stains_get_a_row_a_plane(tmp_path):
    listing = list_images(
        folder(tmp_path, "A01_s1.ome.tif", "A02_s1.ome.tif"),
        Store(),
        "{well}_s{site}",
        channels={"0": "DNA", "1": "RNA"},
    )
    assert listing.images.select("well", "channel", "frame").rows() == [
        ("A01", "DNA", 0), ("A01", "RNA", 1), ("A02", "DNA", 0), ("A02", "RNA", 1),
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"names without a channel; expected .* --channel 0=DNA"):
        found(tmp_path, pattern="{well}_s{site}")


def test_one_plane_of_a_stack_is_chosen(tmp_path):
    names = [f"r01c01f01p0{p}-ch1sk1fk1fl1.tiff" for p in (1, 2)]
    with pytest.raises(InputError, match=r"plane: found 2 of them, 1, 2; expected one\. Choose one with --plane"):
        found(tmp_path, *names)
    listing = list_images(f"{tmp_path}/P1__2021", Store(), chosen={"plane": 2})
    assert [path.rsplit("/", 1)[-1] for path in listing.images["path"]] == names[1:]
    with pytest.raises(InputError, match="plane: found 1, 2; expected 3"):
        found(tmp_path, chosen={"plane": 3})


def test_what_was_understood_is_shown_and_what_was_not(tmp_path):
    names = [f"P1_{well}_s{s}_w{w}.tif" for well in ("A01", "B02") for s in (1, 2) for w in (1, 2)]
    listing = list_images(folder(tmp_path, *names[:-1], "P1_A01_s1_w1_thumb.tif", "overview.tif", "notes.txt"), Store())
    assert listing.text().splitlines() == [
        "7 images by ImageXpress's names, `{well}_s{site}_w{channel}`",
        "plates    P1",
        "wells     2: A01 to B02",
        "sites     4: 1 to 2 a well",
        "channel   Channel1: 4 images",
        "channel   Channel2: 3 images",
        "such as   P1_A01_s1_w1.tif: well A01, site 1, channel Channel1",
        "missing   1 images: not every site has every channel",
        "left out  1 images that the pattern does not fit: overview.tif",
        "left out  1 thumbnails",
    ]


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["notes.txt"], {}, "found no images among 1 files"),
        (["overview.tif"], {}, r"names such as overview.tif; expected names like .*Give a pattern"),
        (["A01_s1_w1.tif", "A01_s1_w1.png"], {}, "well A01, site 1: found 2 images of one channel"),
        (["A01_s1_w1.tif"], {"pattern": "{wel}_s{site}"}, r"found \{wel\}; expected one of \{plate\}, \{well\}"),
        (["A01_s1_w1.tif"], {"pattern": "s{site}_w{channel}"}, r"no \{well\}, nor \{row\} and \{col\}"),
        (["A99_s1_w1.tif"], {}, "names such as A99_s1_w1.tif"),
    ],
)
def test_what_cannot_be_understood_is_one_message(tmp_path, names, options, message):
    with pytest.raises(InputError, match=message):
        found(tmp_path, *names, **options)


def listing(tmp_path, **options):
    names = [f"P1_{well}_s{s}_w{w}.tif" for well in ("A01", "B02") for s in (1, 2) for w in (1, 2)]
    return list_images(folder(tmp_path, *names), Store(), channels={"1": "DNA", "2": "ER"}, **options)


def test_the_samplesheet_and_the_load_data_say_the_same(tmp_path):
    images = listing(tmp_path)
    sheet = read_samplesheet(samplesheet(images, "lab", "b1").encode(), "/s.csv")
    sites = plate_sites(plate_rows(sheet, "/s.csv", "P1"), "/s.csv")
    assert sites.height == 8
    assert sites["uri"][0] == f"{tmp_path}/P1__2021/P1_A01_s1_w1.tif"
    assert read_load_data(load_data(images).encode(), "load_data.csv", "P1").equals(sites)


def test_so_they_do_of_planes(tmp_path):
    images = list_images(folder(tmp_path, "A01_s1.tif"), Store(), "{well}_s{site}", channels={"0": "DNA", "3": "ER"})
    sheet = read_samplesheet(samplesheet(images, "lab", "b1").encode(), "/s.csv")
    sites = plate_sites(plate_rows(sheet, "/s.csv", "P1"), "/s.csv")
    assert sites["frame"].to_list() == [0, 3]
    assert read_load_data(load_data(images).encode(), "load_data.csv", "P1").equals(sites)


def test_an_index_says_all_by_itself(tmp_path):
    place = folder(tmp_path, "Images/r01c01f01p01-ch1sk0.tiff")
    (tmp_path / "P1__2021/Images/Index.idx.xml").write_text(index(PLATE, 5))
    images = list_images(place, Store(), channels={"HOECHST 33342": "DNA"})
    assert images.images.height == 6
    assert images.text().startswith("6 images by the index Index.idx.xml")
    assert images.images["channel"].unique().sort().to_list() == ["Alexa647", "DNA"]


def test_a_bucket_is_listed_as_a_folder_is(tmp_path, object_store):
    listing(tmp_path)
    object_store.create("names")
    object_store.put_folder("names", tmp_path)
    images = list_images("s3://names/P1__2021", Store(endpoint_url=object_store.url)).images
    assert images["path"][0] == "s3://names/P1__2021/P1_A01_s1_w1.tif"
    assert images["plate"].unique().to_list() == ["P1"]


def test_folders_below_are_plates_unless_they_are_what_every_plate_has(tmp_path):
    names = ["P1/A01_s1_w1.tif", "P2__2021/TimePoint_1/A01_s1_w1.tif"]
    assert {row[0] for row in found(tmp_path, *names, plate="screen")} == {"P1", "P2"}
    names = ["TimePoint_1/A01_s1_w1.tif", "B02/B02_s1_w1.tif"]
    assert {row[0] for row in found(tmp_path / "other", *names, plate="P7")} == {"P7"}
