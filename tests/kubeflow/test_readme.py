"""What the page names is there."""

import pathlib
import re

import yaml

_TREE = pathlib.Path(__file__).resolve().parents[2]
_PAGE = (_TREE / "kubeflow" / "README.md").read_text()


def test_every_kustomization_that_is_applied_is_there():
    applied = re.findall(r"-k (kubeflow/[\w/-]+)", _PAGE)
    assert applied
    for folder in applied:
        assert (_TREE / folder / "kustomization.yaml").exists(), folder


def test_folders_and_files_of_the_page_are_there():
    named = re.findall(r"`((?:serving|kserve|storage|shell|training|validate|overlays|components)/[\w./-]*)`", _PAGE)
    assert named
    for name in named:
        assert any((_TREE / "kubeflow" / base / name).exists() for base in ("", "serving")), name


def test_claims_of_the_configuration_are_those_of_the_manifests():
    config = yaml.safe_load(re.search(r"```yaml\n(.*?)```", _PAGE, re.DOTALL)[1])
    claims = {
        claim["metadata"]["name"]
        for claim in yaml.safe_load_all((_TREE / "kubeflow" / "storage" / "claims.yaml").read_text())
    }
    mounted = {volume["claim"]: volume["path"] for volume in config["kubeflow"]["default"]["volumes"]}
    assert set(mounted) == claims
    assert config["push"]["directory"] == mounted["framecast-models"]
