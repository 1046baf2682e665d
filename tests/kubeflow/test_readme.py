"""Files, folders and claims that kubeflow/README.md names exist."""

import pathlib
import re

import yaml

_TREE = pathlib.Path(__file__).resolve().parents[2]
_PAGE = (_TREE / "kubeflow" / "README.md").read_text()


def test_applied_kustomizations_exist():
    applied = re.findall(r"-k (kubeflow/[\w/-]+)", _PAGE)
    assert applied
    for folder in applied:
        assert (_TREE / folder / "kustomization.yaml").exists(), folder


def test_named_folders_and_files_exist():
    named = re.findall(r"`((?:serving|kserve|storage|shell|training|validate|overlays|components)/[\w./-]*)`", _PAGE)
    assert named
    for name in named:
        assert any((_TREE / "kubeflow" / base / name).exists() for base in ("", "serving")), name


def test_volume_claims_match_the_manifests():
    config = yaml.safe_load(re.search(r"```yaml\n(.*?)```", _PAGE, re.DOTALL)[1])
    claims = {
        claim["metadata"]["name"]
        for claim in yaml.safe_load_all((_TREE / "kubeflow" / "storage" / "claims.yaml").read_text())
    }
    mounted = {volume["claim"]: volume["path"] for volume in config["kubeflow"]["default"]["volumes"]}
    assert set(mounted) == claims
    assert config["push"]["directory"] == mounted["framecast-models"]
