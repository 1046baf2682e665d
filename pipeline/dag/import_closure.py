"""Finds the source files that a module runs: its imports, transitively, without importing anything.

closure("framecast.models.training.run_fn")  # {"framecast.models.convlstm": Path("models/convlstm.py"), ...}
"""

import ast
import dataclasses
import functools
import importlib.util
import pathlib
import re
import sys
from collections.abc import Iterator

import framecast

PACKAGE = "framecast"
# Not resolved, because src/framecast links to the folders at the top of the repository.
_ROOT = pathlib.Path(framecast.__file__).parent
_SUFFIXES = {".py", ".pyi", ".pbtxt", ".jinja"}
_INSTALLED = {"site-packages", "dist-packages"}
_DOTTED_NAME = re.compile(rf"{PACKAGE}(\.\w+)+")
_DATA_FILE = re.compile(r"[\w-][\w./-]*\.\w+")


def closure(*modules: str, builder: str | None = None) -> dict[str, pathlib.Path]:
    """Returns the source and data files of modules and of everything that they import.

    Follows Framecast's modules and, with `builder`, the user's modules that are not installed packages. Counts imports
    at the top and inside functions, names that lazy packages export by their stub, and the dotted name of a Framecast
    module in a string, such as an argument of `python -m`. Leaves out imports for type checkers.

    Args:
        modules: Dotted names of Framecast modules.
        builder: The module of the user's builder: a dotted name, or a path `folder/file.py`.

    Returns:
        Files by dotted module name, or by `package/file` for a data file that a module in that package names.

    Raises:
        ModuleNotFoundError: If one of `modules` does not exist.
    """
    walk = _Walk(builder)
    for name in modules:
        if walk.find(name) is None:
            raise ModuleNotFoundError(f"expected a Framecast module, received {name}", name=name)
        walk.import_module(name)
    if builder is not None:
        walk.import_builder(builder)
    walk.run()
    return walk.files


def all_files() -> dict[str, pathlib.Path]:
    """Returns Framecast's source and data files by path below the package."""
    # One `rglob` per folder, because it does not follow links and src/framecast consists of links.
    paths = [path for folder in _ROOT.iterdir() if folder.is_dir() for path in folder.rglob("*")]
    return {str(path.relative_to(_ROOT)): path for path in paths if path.suffix in _SUFFIXES}


@dataclasses.dataclass(frozen=True)
class _Module:
    """A module's file (None for a namespace package) and, for a package, the folders with its submodules."""

    file: pathlib.Path | None
    folders: tuple[pathlib.Path, ...] = ()

    @property
    def stub(self) -> pathlib.Path | None:
        """The stub by which a lazy package exports names."""
        path = self.file.with_suffix(".pyi") if self.file is not None and self.folders else None
        return path if path is not None and path.is_file() else None


@dataclasses.dataclass(frozen=True)
class _Import:
    """`import module` (no `name`), or `from module import name as alias`; `level` counts the dots of a relative one."""

    module: str
    name: str | None = None
    level: int = 0
    alias: str | None = None

    def target(self, importer: str, is_package: bool) -> str:
        """Returns the absolute name of `module` as seen from the importing module."""
        if not self.level:
            return self.module
        parts = importer.split(".")
        base = parts[: len(parts) - self.level + is_package]
        return ".".join([*base, self.module] if self.module else base)


class _Walk:
    """Collects the files of a closure.

    Attributes:
        files: The files found so far, as `closure` returns them.
    """

    def __init__(self, builder: str | None):
        self.files: dict[str, pathlib.Path] = {}
        self._modules: dict[str, _Module | None] = {}
        self._waiting: list[str] = []
        self._follows_users = builder is not None
        self._users_package = "" if builder is None else builder.partition(".")[0]
        self._builder_folders: tuple[pathlib.Path, ...] = ()

    def import_builder(self, builder: str) -> None:
        """Adds the builder's module; one given as a file may import the modules in its folder."""
        if builder.endswith(".py"):
            path = pathlib.Path(builder)
            self._users_package, self._builder_folders = path.stem, (path.parent,)
            self._modules[path.stem] = _Module(path)
            self._add(path.stem)
        else:
            self.import_module(builder)

    def run(self) -> None:
        """Follows imports until no new module is found."""
        while self._waiting:
            name = self._waiting.pop()
            module = self.find(name)
            assert module is not None
            assert module.file is not None
            imports, strings = _read_source(module.file.read_bytes() if module.file.suffix == ".py" else b"")
            for found in imports:
                target = found.target(name, bool(module.folders))
                if found.name is None:
                    self.import_module(target)
                else:
                    self._import_name(target, found.name)
            for text in strings:
                self._follow_string(name, module, text)

    def import_module(self, name: str) -> None:
        """Adds a module and the packages around it; a lazy package with all that it exports."""
        if self._add(name):
            self._import_stub(name, "*")

    def find(self, name: str) -> _Module | None:
        """Returns a module to follow; None for one that is installed or does not exist."""
        if name not in self._modules:
            parent, _, last = name.rpartition(".")
            if not parent:
                self._modules[name] = self._find_top(name)
            else:
                package = self.find(parent)
                self._modules[name] = None if package is None else _find_below(package.folders, last)
        return self._modules[name]

    def _find_top(self, name: str) -> _Module | None:
        """Finds a top-level module or package, which `find_spec` does not import."""
        if name == PACKAGE:
            return _find_below((_ROOT.parent,), PACKAGE)
        if not self._follows_users or name in sys.stdlib_module_names:
            return None
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            spec = None
        if spec is None:
            return _find_below(self._builder_folders, name)
        folders = tuple(pathlib.Path(folder) for folder in spec.submodule_search_locations or ())
        file = pathlib.Path(spec.origin) if spec.has_location and spec.origin else None
        installed = any(_INSTALLED.intersection(path.parts) for path in (file, *folders) if path is not None)
        if (installed and name != self._users_package) or (
            file is not None and not file.is_file()
        ):  # Or in a zip file.
            return None
        return _Module(file, folders)

    def _add(self, name: str) -> bool:
        """Adds a module and the packages around it; returns False if it is not followed."""
        if self.find(name) is None:
            return False
        parts = name.split(".")
        for count in range(1, len(parts) + 1):
            prefix = ".".join(parts[:count])
            module = self.find(prefix)
            if module is not None and module.file is not None and prefix not in self.files:
                self.files[prefix] = module.file
                self._waiting.append(prefix)
        return True

    def _import_name(self, module: str, name: str) -> None:
        """Adds what `from module import name` runs."""
        if not self._add(module) or self._import_stub(module, name):
            return
        if self.find(f"{module}.{name}") is not None:
            self.import_module(f"{module}.{name}")

    def _import_stub(self, package: str, name: str) -> bool:
        """Adds the module that defines a name (`*`: all names) of a lazy package; returns False if there is none."""
        module = self.find(package)
        if module is None or module.stub is None:
            return False
        matches = [
            found
            for found in _read_source(module.stub.read_bytes())[0]
            if found.name is not None and name in ("*", found.alias or found.name)
        ]
        for found in matches:
            assert found.name is not None
            self._import_name(found.target(package, True), found.name)
        return bool(matches)

    def _follow_string(self, importer: str, module: _Module, text: str) -> None:
        """Adds the Framecast module or the data file that a string names."""
        if _DOTTED_NAME.fullmatch(text):
            # "package.module" or "package.module.function".
            for name in (text, text.rpartition(".")[0]):
                if name != PACKAGE and self.find(name) is not None:
                    self.import_module(name)
                    return
        elif module.file is not None and (path := module.file.parent / text).is_file():
            package = importer if module.folders else importer.rpartition(".")[0]
            self.files[f"{package}/{text}"] = path


def _find_below(folders: tuple[pathlib.Path, ...], name: str) -> _Module | None:
    for folder in folders:
        package = folder / name
        if (package / "__init__.py").is_file():
            return _Module(package / "__init__.py", (package,))
        if (file := folder / f"{name}.py").is_file():
            return _Module(file)
        if package.is_dir():
            return _Module(None, (package,))
    return None


@functools.cache
def _read_source(source: bytes) -> tuple[tuple[_Import, ...], tuple[str, ...]]:
    """Returns the imports of a module, and its strings that may name a module or a data file."""
    try:
        nodes = list(_nodes(ast.parse(source)))
    except (SyntaxError, ValueError):  # Importing the module says so better.
        return (), ()
    imports: list[_Import] = []
    strings: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            imports += [_Import(alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imports += [_Import(node.module or "", alias.name, node.level, alias.asname) for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _DATA_FILE.fullmatch(node.value):
            strings.add(node.value)
    return tuple(imports), tuple(sorted(strings))


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yields all nodes but those in the body of `if TYPE_CHECKING:`."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            waiting += node.orelse
            continue
        for value in node.__dict__.values():  # In place of ast.iter_child_nodes, which takes twice the time.
            if isinstance(value, list):
                waiting += [child for child in value if isinstance(child, ast.AST)]
            elif isinstance(value, ast.AST):
                waiting.append(value)


def _is_type_checking(test: ast.expr) -> bool:
    """Returns whether a condition is `TYPE_CHECKING` or `typing.TYPE_CHECKING`."""
    name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else ""
    return name == "TYPE_CHECKING"
