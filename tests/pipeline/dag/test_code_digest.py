"""Digests of code: what a module imports, and what does not count."""

import importlib
import sys
import textwrap

import pytest

from framecast.pipeline.dag import code_digest, import_closure


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Writes modules of a small framecast, and of a user; returns the closure's names without packages."""
    monkeypatch.setattr(import_closure, "_ROOT", tmp_path / "lib" / "framecast")
    monkeypatch.syspath_prepend(str(tmp_path / "user"))

    def write(**files):
        for name, text in {"lib/framecast/__init__.py": "", **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        importlib.invalidate_caches()

    return write


def _ours(**files):
    """Adds an empty `__init__.py` to each package."""
    found = {f"lib/framecast/{name.replace('__', '/')}.py": text for name, text in files.items()}
    packages = {f"{name.rpartition('/')[0]}/__init__.py": "" for name in found}
    return {**packages, **found}


def _closure(*modules, **others):
    return {name for name, path in import_closure.closure(*modules, **others).items() if path.name != "__init__.py"}


@pytest.mark.parametrize(
    "statement",
    [
        "import framecast.clips.codec",
        "import framecast.clips.codec as codec",
        "from framecast.clips import codec",
        "from framecast.clips.codec import encode",
        "from framecast.clips.codec import *",
        "from ..clips import codec",
        "from ..clips.codec import encode",
        "def run():\n    from framecast.clips import codec",
        "try:\n    pass\nfinally:\n    import framecast.clips.codec",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass\nelse:\n    import framecast.clips.codec",
        'command = ["python", "-m", "framecast.clips.codec"]',
        'function = "framecast.clips.codec.encode"',
    ],
)
def test_import_is_followed(tree, statement):
    tree(**_ours(clips__codec="import numpy", models__train=statement))
    assert _closure("framecast.models.train") == {"framecast.models.train", "framecast.clips.codec"}


@pytest.mark.parametrize(
    "statement",
    [
        "import typing\nif typing.TYPE_CHECKING:\n    from framecast.clips import codec",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from framecast.clips import codec",
        '"""See framecast.clips.codec."""',
        "import framecast.clips",
    ],
)
def test_other_mention_is_not_followed(tree, statement):
    tree(**_ours(clips__codec="", models__train=statement))
    assert _closure("framecast.models.train") == {"framecast.models.train"}


def test_imports_are_followed_transitively_and_in_circles(tree):
    tree(**_ours(clips__a="from framecast.clips import b", clips__b="from framecast.clips import a, c", clips__c=""))
    assert _closure("framecast.clips.a") == {"framecast.clips.a", "framecast.clips.b", "framecast.clips.c"}


def test_packages_on_the_way_count(tree):
    tree(**_ours(clips__a="", models__b="import framecast.clips.a"))
    files = import_closure.closure("framecast.models.b")
    assert {"framecast", "framecast.clips", "framecast.models"} <= set(files)


_LAZY = {
    **_ours(clips__codec="", clips__records="from framecast.clips import files", clips__files=""),
    "lib/framecast/clips/__init__.pyi": """
        from .codec import encode as encode
        from .records import read as read_records
    """,
}


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("from framecast.clips import encode", {"codec"}),
        ("from framecast.clips import read_records", {"records", "files"}),
        ("from framecast.clips import files", {"files"}),
        ("from framecast.clips import encode, files", {"codec", "files"}),
        ("from framecast.clips import *", {"codec", "records", "files"}),
        ("import framecast.clips", {"codec", "records", "files"}),
        ("from framecast import clips", {"codec", "records", "files"}),
        ("import framecast.clips.codec", {"codec"}),
    ],
)
def test_name_of_lazy_package_resolves_through_its_stub(tree, statement, expected):
    tree(**_LAZY, **_ours(models__train=statement))
    assert _closure("framecast.models.train") == {"framecast.models.train", *(f"framecast.clips.{n}" for n in expected)}


def test_stub_of_a_stub_is_resolved(tree):
    tree(
        **_LAZY,
        **_ours(models__train="from framecast.api import encode"),
        **{
            "lib/framecast/api/__init__.py": "",
            "lib/framecast/api/__init__.pyi": "from ..clips import encode as encode",
        },
    )
    assert _closure("framecast.models.train") == {"framecast.models.train", "framecast.clips.codec"}


def test_data_file_named_in_a_string_counts(tree):
    tree(
        **_ours(schemas__schema='open("clip.pbtxt")'),
        **{"lib/framecast/schemas/clip.pbtxt": "", "lib/framecast/schemas/other.pbtxt": ""},
    )
    assert _closure("framecast.schemas.schema") == {"framecast.schemas.schema", "framecast.schemas/clip.pbtxt"}


def test_users_helpers_count_and_installed_packages_do_not(tree):
    tree(
        **_ours(models__convlstm="", models__other=""),
        **{
            "user/builder.py": "import json, numpy, helper\nfrom parts import layers",
            "user/helper.py": "from framecast.models import convlstm",
            "user/parts/layers.py": "from . import blocks",
            "user/parts/blocks.py": "",
        },
    )
    expected = {"builder", "helper", "parts.layers", "parts.blocks", "framecast.models.convlstm"}
    assert _closure(builder="builder") == expected


def test_builder_given_as_file_finds_modules_beside_it(tree, tmp_path):
    tree(**{"elsewhere/my_builder.py": "import beside_it", "elsewhere/beside_it.py": ""})
    assert _closure(builder=str(tmp_path / "elsewhere" / "my_builder.py")) == {"my_builder", "beside_it"}


def test_installed_builder_counts_with_its_own_package(tree, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    tree(
        **{
            "site-packages/mine/__init__.py": "",
            "site-packages/mine/build.py": "import theirs\nfrom mine import parts",
            "site-packages/mine/parts.py": "",
            "site-packages/theirs.py": "",
        }
    )
    assert _closure(builder="mine.build") == {"mine.build", "mine.parts"}


def test_nothing_is_imported(tree):
    tree(**{"user/never_imported.py": "raise AssertionError"})
    import_closure.closure(builder="never_imported")
    assert "never_imported" not in sys.modules


def test_digest_changes_with_content_and_not_with_place(tree, tmp_path, monkeypatch):
    files = _ours(clips__codec="one = 1", models__train="from framecast.clips import codec", models__other="")
    tree(**files)
    before = code_digest.code_digest("framecast.models.train")
    (tmp_path / "lib").rename(tmp_path / "moved")
    monkeypatch.setattr(import_closure, "_ROOT", tmp_path / "moved" / "framecast")
    (tmp_path / "moved/framecast/models/other.py").write_text("edited")
    (tmp_path / "moved/framecast/models/__pycache__").mkdir()
    assert code_digest.code_digest("framecast.models.train") == before
    (tmp_path / "moved/framecast/clips/codec.py").write_text("one = 2")
    assert code_digest.code_digest("framecast.models.train") != before


def test_links_to_the_layers_make_no_difference(tree, tmp_path):
    tree(**_ours(clips__codec="one = 1"))
    before = code_digest.code_digest("framecast.clips.codec")
    (tmp_path / "lib/framecast/clips").rename(tmp_path / "clips")
    (tmp_path / "lib/framecast/clips").symlink_to(tmp_path / "clips")
    assert code_digest.code_digest("framecast.clips.codec") == before
    assert set(import_closure.all_files()) == {"clips/__init__.py", "clips/codec.py"}


def test_missing_module_is_an_error(tree):
    tree(**_ours(clips__codec=""))
    with pytest.raises(ModuleNotFoundError, match=r"expected a Framecast module, received framecast.clips.coddec"):
        code_digest.code_digest("framecast.clips.coddec")
