import pytest
import yaml

from morpho_assets.errors import InputError
from morpho_assets.studies.model import load_study, study_files
from morpho_assets_tests.factories import write
from morpho_assets_tests.project import QUICK_STUDY


@pytest.mark.parametrize("name", study_files(study_files.__globals__["SHIPPED"]))
def test_every_shipped_study_is_valid(name, tmp_path):
    study = load_study(name, tmp_path)
    assert study.title
    assert study.about


def test_a_user_s_study_wins_over_a_shipped_one(tmp_path):
    write(tmp_path / "demo.yaml", yaml.safe_dump(QUICK_STUDY))
    assert load_study("demo", tmp_path).title == "Quick study"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "other"}, "key name: found other; expected demo"),
        (
            {"spaces": {"deep": {"of": "embedding", "encoder": "vea"}}},
            r"demo.yaml, spaces.deep: found the encoder vea, .* expected one of vae, vae_untrained. Did you mean vae\?",
        ),
        ({"evaluators": {"x": {"evaluator": "magic"}}}, "expected one of .*retrieval"),
        ({"corrections": [{"corrector": "magic"}]}, "key corrections.0"),
        ({"colour": "blue"}, "key colour"),
    ],
)
def test_a_wrong_study_is_one_message(tmp_path, change, message):
    write(tmp_path / "demo.yaml", yaml.safe_dump({**QUICK_STUDY, **change}))
    with pytest.raises(InputError, match=message):
        load_study("demo", tmp_path)


def test_an_unknown_study_lists_the_known(tmp_path):
    with pytest.raises(InputError, match=r"no study 'none'; expected one of .*demo"):
        load_study("none", tmp_path)


def test_every_encoder_gets_an_untrained_twin_and_a_space_of_it(tmp_path):
    vae = {**QUICK_STUDY["encoders"]["vae"], "beta": 2.0}
    spaces = {"deep": {"of": "embedding", "encoder": "vae"}, "cell_count": {"of": "cell_count"}}
    study = {**QUICK_STUDY, "encoders": {"vae": vae, "alone": {**vae, "twin": False}}, "spaces": spaces}
    write(tmp_path / "demo.yaml", yaml.safe_dump(study, sort_keys=False))
    read = load_study("demo", tmp_path)
    assert list(read.encoders) == ["vae", "vae_untrained", "alone"]
    assert read.encoders["vae_untrained"] == read.encoders["vae"].model_copy(update={"untrained": True, "twin": False})
    assert list(read.spaces) == ["deep", "deep_untrained", "cell_count"]
    assert read.spaces["deep_untrained"].encoder == "vae_untrained"
    assert type(read).model_validate(read.model_dump()) == read  # twins get no twins


def test_weights_lie_beside_the_settings(tmp_path):
    encoders = {"own": {"kind": "file", "path": "weights/net.pt", "architecture": "resnet18"}}
    spaces = {"own": {"of": "embedding"}}
    write(tmp_path / "demo.yaml", yaml.safe_dump({**QUICK_STUDY, "encoders": encoders, "spaces": spaces}))
    assert load_study("demo", tmp_path, root=tmp_path).encoders["own"].path == str(tmp_path / "weights/net.pt")
