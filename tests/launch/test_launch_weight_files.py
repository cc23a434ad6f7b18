"""Names and hashes of a model's weights."""

from nemo_skills_specdec.launch import weight_files as module
from nemo_skills_specdec.launch.weight_files import WeightFile, weight_files

SHA_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_folder_s_weights_are_named_and_hashed(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"abc")
    (tmp_path / "config.json").write_text("{}")
    assert weight_files(str(tmp_path)) == [WeightFile(name="model.safetensors", size=3, sha256=SHA_OF_ABC)]


def test_a_file_changed_since_is_hashed_again(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"ab")
    before = weight_files(str(file))
    file.write_bytes(b"abc")
    assert weight_files(str(file)) == [WeightFile(name="model.gguf", size=3, sha256=SHA_OF_ABC)]
    assert weight_files(str(file)) != before


def test_a_large_model_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGEST_HASHED", 2)
    (tmp_path / "model.safetensors").write_bytes(b"abc")
    assert weight_files(str(tmp_path)) == [WeightFile(name="model.safetensors", size=3, sha256=None)]


def test_a_hub_name_is_looked_up_in_the_cache_whose_links_name_the_hash(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--org--drafter"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("c0ffee")
    (repository / "blobs").mkdir()
    (repository / "snapshots" / "c0ffee").mkdir(parents=True)
    (repository / "blobs" / SHA_OF_ABC).write_bytes(b"whatever")
    (repository / "snapshots" / "c0ffee" / "model.safetensors").symlink_to(repository / "blobs" / SHA_OF_ABC)
    assert weight_files("org/drafter") == [WeightFile(name="model.safetensors", size=8, sha256=SHA_OF_ABC)]


def test_a_model_that_is_nowhere_has_none(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert weight_files("org/unknown") == []
