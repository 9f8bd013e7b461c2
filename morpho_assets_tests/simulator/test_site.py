from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from morpho_assets.simulator.biology import NAMES, PARAMETERS, Compound
from morpho_assets.simulator.design import CHANNELS, GalleryDesign, Technique
from morpho_assets.simulator.layout import Treatment, Well
from morpho_assets.simulator.optics import CAMERA, vignette
from morpho_assets.simulator.site import Site, simulate_site

CLEAN = GalleryDesign(pixels=400, scale=0.6, cells_per_site=30, technique=Technique.none())
DNA, ER, RNA, AGP, MITO = range(5)


def treated(**effect: float) -> Well:
    vector = np.array([effect.get(name, 0.0) for name in NAMES])
    compound = Compound("BRD", "test", "test", 0, "C", "C", vector, half_dose=1e-9, hill=1.0, penetrance=1.0)
    return Well(3, 4, Treatment(compound, 10.0, "trt"))


UNTREATED = Well(3, 4, Treatment(None, 0.0, "negcon"))


def sites(well: Well, number: int = 6) -> list[Site]:
    if well is UNTREATED:
        return untreated()[:number]
    return [simulate_site(CLEAN, 1, 0, well, site) for site in range(1, number + 1)]


@cache
def untreated() -> list[Site]:
    return [simulate_site(CLEAN, 1, 0, UNTREATED, site) for site in range(1, 13)]


def stack(made: list[Site], column: str) -> np.ndarray:
    return np.concatenate([site.table[column] for site in made])


@pytest.mark.parametrize("density", [0, 1, 30, 120], ids=["empty", "single", "usual", "crowded"])
def test_labels_are_linked_and_without_gaps(density: int) -> None:
    site = simulate_site(CLEAN.model_copy(update={"cells_per_site": density}), 5, 0, UNTREATED, 1)
    n = site.nuclei.max()
    assert np.unique(site.nuclei).tolist() == list(range(n + 1))
    assert set(np.unique(site.cells)) == set(range(n + 1))
    inside = site.nuclei > 0
    np.testing.assert_array_equal(site.cells[inside], site.nuclei[inside])
    assert len(site.table["ObjectNumber"]) == n
    assert site.image.dtype == np.uint16


@given(
    seed=st.integers(0, 2**32),
    site=st.integers(1, 9),
    pixels=st.integers(32, 97),
    scale=st.sampled_from([0.3, 0.7, 1.0]),
)
@settings(max_examples=15, deadline=None)
def test_any_design_gives_linked_labels_and_twice_the_same_image(
    seed: int, site: int, pixels: int, scale: float
) -> None:
    design = GalleryDesign(pixels=pixels, scale=scale, cells_per_site=5)
    one, two = (simulate_site(design, seed, 1, treated(mitotic_arrest=2, binucleation=2), site) for _ in range(2))
    np.testing.assert_array_equal(one.image, two.image)
    assert set(np.unique(one.cells)) | {0} == set(np.unique(one.nuclei)) | {0} == set(range(one.nuclei.max() + 1))
    np.testing.assert_array_equal(one.cells[one.nuclei > 0], one.nuclei[one.nuclei > 0])


def test_nuclei_are_bright_in_dna_and_dim_outside() -> None:
    site = sites(UNTREATED, 1)[0]
    dna = site.image[DNA]
    assert np.median(dna[site.nuclei > 0]) > 5 * np.median(dna[site.cells == 0])


def test_nuclear_area_grows_by_its_spread() -> None:
    plain, large = (np.log(stack(sites(well), "nucleus_pixels")) for well in (UNTREATED, treated(nuclear_area=3)))
    grown = np.median(large) - np.median(plain)
    assert grown == pytest.approx(3 * PARAMETERS["nuclear_area"].spread, abs=0.12)


def test_er_brightens_by_its_spread() -> None:
    plain, bright = (
        np.median([np.median(s.image[ER][s.cells > 0]) - np.median(s.image[ER][s.cells == 0]) for s in sites(well)])
        for well in (UNTREATED, treated(er_intensity=3))
    )
    assert np.log(bright / plain) == pytest.approx(3 * PARAMETERS["er_intensity"].spread, abs=0.12)


def test_viability_sets_the_count() -> None:
    plain, few = (sum(s.nuclei.max() for s in sites(well, 12)) for well in (UNTREATED, treated(viability=-1.4)))
    assert np.log(few / plain) == pytest.approx(-1.4, abs=0.35)


def test_viability_changes_nothing_in_a_cell() -> None:
    plain, few = (sites(well, 12) for well in (UNTREATED, treated(viability=-1.4)))
    areas = [np.median(np.log(stack(made, "nucleus_pixels"))) for made in (plain, few)]
    assert areas[0] == pytest.approx(areas[1], abs=0.1)


@pytest.mark.parametrize(("parameter", "state"), [("binucleation", "binucleate"), ("mitotic_arrest", "mitotic")])
def test_chances_of_states_rise_by_their_log_odds(parameter: str, state: str) -> None:
    share = [np.mean(stack(sites(w, 12), "state") == state) for w in (UNTREATED, treated(**{parameter: 3.0}))]
    odds = [s / (1 - s) for s in share]
    assert np.log(odds[1] / max(odds[0], 0.01)) == pytest.approx(3.0, abs=0.9)


def contrast(site: Site, channel: int, compartment: np.ndarray) -> float:
    values = site.image[channel][compartment].astype(float)
    return float(values.std() / values.mean())


@pytest.mark.parametrize(
    ("parameter", "channel", "where"),
    [
        ("chromatin_texture", DNA, "nuclei"),
        ("nucleoli", RNA, "nuclei"),
        ("actin_fibres", AGP, "cytoplasm"),
    ],
)
def test_textures_follow_their_parameter(parameter: str, channel: int, where: str) -> None:
    def fine_contrast(site: Site) -> float:
        image = np.log(site.image[channel].astype(float))
        inside = site.nuclei > 0 if where == "nuclei" else (site.cells > 0) & (site.nuclei == 0)
        fine = np.abs(image - (np.roll(image, 2, 0) + np.roll(image, 2, 1)) / 2)
        return float(np.median(fine[inside]))

    low, high = (np.mean([fine_contrast(s) for s in sites(treated(**{parameter: x}), 3)]) for x in (-3.0, 3.0))
    assert high > 1.15 * low


def test_golgi_scatters_away_from_the_nucleus() -> None:
    def reach(site: Site) -> float:
        away = ndimage.distance_transform_edt(site.nuclei == 0)
        cytoplasm = (site.cells > 0) & (away > 1) & (site.image[AGP] < 60000)
        fine = site.image[AGP] - ndimage.gaussian_filter(site.image[AGP].astype(float), 4.0)
        spots = cytoplasm & (fine > np.percentile(fine[cytoplasm], 95))
        return float(np.median(away[spots]))

    compact, scattered = (np.mean([reach(s) for s in sites(w, 4)]) for w in (UNTREATED, treated(golgi_dispersal=4.0)))
    assert scattered > 1.15 * compact


def test_mitochondria_break_into_brighter_spots() -> None:
    def peaks(site: Site) -> float:
        cytoplasm = (site.cells > 0) & (site.nuclei == 0) & (site.image[MITO] < 5000)
        values = site.image[MITO][cytoplasm].astype(float)
        return float((np.percentile(values, 99) - np.median(values)) / values.std())

    plain, broken = (np.mean([peaks(s) for s in sites(w, 4)]) for w in (UNTREATED, treated(mito_fragmentation=4.0)))
    assert broken > 1.05 * plain


def with_technique(**switches: float) -> Site:
    design = CLEAN.model_copy(update={"technique": Technique.none().model_copy(update=switches)})
    return simulate_site(design, 1, 3, Well(1, 1, Treatment(None, 0.0, "negcon")), 1)


def signal(site: Site, channel: int) -> float:
    image = site.image[channel].astype(float)
    return float(np.median(image[site.cells > 0]) - np.median(image[site.cells == 0]))


def test_without_technique_background_is_nearly_flat() -> None:
    empty = simulate_site(CLEAN.model_copy(update={"cells_per_site": 0}), 1, 0, UNTREATED, 1)
    assert all(np.ptp(np.log(channel.astype(float))) < 0.3 for channel in empty.image)


def test_vignette_dims_the_corners_by_its_size() -> None:
    fall = vignette(Technique.none().model_copy(update={"vignette": 0.4}), 400)
    assert fall[200, 200] == pytest.approx(1.0, abs=1e-4)
    assert fall[0, 0] == pytest.approx(0.6, abs=0.005)
    plain, dimmed = (site.image[DNA].astype(float) for site in (with_technique(), with_technique(vignette=0.4)))
    unclipped = plain < 65535
    ratio = (dimmed - CAMERA)[unclipped] / (plain - CAMERA)[unclipped]
    np.testing.assert_allclose(ratio, fall[unclipped], atol=0.01)


def test_stain_drift_brightens_agp_of_the_last_plate_alone() -> None:
    plain, drifted = with_technique(), with_technique(stain_drift=0.5)
    for channel in range(len(CHANNELS)):
        expected = 0.5 if channel == AGP else 0.0
        assert np.log(signal(drifted, channel) / signal(plain, channel)) == pytest.approx(expected, abs=0.02)


def test_edge_and_gradients_brighten_the_corner_well() -> None:
    plain = with_technique()
    for switch, size in (("edge", 0.3), ("row_gradient", -0.6), ("column_gradient", -0.6)):
        assert np.log(signal(with_technique(**{switch: size}), ER) / signal(plain, ER)) == pytest.approx(0.3, abs=0.02)


def test_noise_has_the_variance_of_its_photons() -> None:
    plain = with_technique().image.astype(float)
    noise = with_technique(photons_per_count=2.0).image - plain
    unclipped = plain < 60000
    assert noise[unclipped].var() == pytest.approx((plain[unclipped] - CAMERA).mean() / 2.0, rel=0.05)
    assert (with_technique(read_noise=10.0).image - plain).std() == pytest.approx(10.0, rel=0.05)


def test_faults_are_planted_where_the_truth_says() -> None:
    sharp, blurred = with_technique(), with_technique(focus_failures=1.0, focus_sigma=6.0)
    assert sharp.faults.focus == 0
    assert blurred.faults.focus == pytest.approx(6.0 * CLEAN.scale)
    assert np.diff(blurred.image[DNA].astype(float)).std() < 0.5 * np.diff(sharp.image[DNA].astype(float)).std()
    bright = with_technique(saturation=1.0, saturation_gain=12.0)
    channel = CHANNELS.index(bright.faults.saturated)
    assert np.median(bright.image[channel]) > 5 * np.median(sharp.image[channel])
    assert with_technique(dust=1.0).faults.dust > 0
