from pydantic import BaseModel

from morpho_assets.lake.provenance import Provenance, digest


class Config(BaseModel):
    radius: float = 1.0


def test_equal_content_has_an_equal_digest_whatever_its_order():
    assert digest({"a": 1, "b": Config()}) == digest({"b": Config(), "a": 1})
    assert digest(Config()) != digest(Config(radius=2.0))


def test_the_fingerprint_follows_settings_code_and_inputs_alone():
    made = Provenance("masks", "1", "settings", {"raw_images": "a"})
    assert made.fingerprint == Provenance("masks", "1", "settings", {"raw_images": "a"}).fingerprint
    others = [
        Provenance("masks", "2", "settings", {"raw_images": "a"}),
        Provenance("masks", "1", "others", {"raw_images": "a"}),
        Provenance("masks", "1", "settings", {"raw_images": "b"}),
        made.including("checksums", ["x"]),
    ]
    assert len({made.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_it_survives_the_parquet_file_as_json():
    made = Provenance("masks", "1", "settings", {"raw_images": "a"})
    assert Provenance.from_json(made.to_json()) == made
