"""Rules for names: no two public classes share one, and no constant is a vague word."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("front", "core", "sandbox", "ingest", "plugin", "doctor", "evaluation", "model", "exporter", "bench")
MODULES = {
    str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8"))
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
}
# Words that do not say of what: `MOST` meant four things.
VAGUE = {
    "ALIKE", "ALL", "ASKED", "ATTEMPTS", "BARE", "BATCH", "BODY", "CACHED", "CALLS", "CAREFUL", "CHANCE",
    "CHUNK", "COUNT", "COUNTS", "CURRENT", "CUT", "DEEPER", "DEFAULT", "DEFAULTS", "DEPTH", "EACH", "ENOUGH",
    "FAR", "FEW", "FIELDS", "FILE", "FILES", "FORMAT", "FORMATS", "FREE", "GENTLE", "GRACE", "HALF", "HELD",
    "IDS", "INDEX", "INPUTS", "KEEP", "KEY", "KEYS", "KNOWN", "LEAST", "LENGTH", "LIMIT", "LIMITS", "LINES",
    "LISTED", "LISTS", "LONGEST", "LOST", "MANY", "MARGIN", "MARK", "MARKED", "MASK", "MEASURES", "METHOD",
    "MINUTES", "MISSING", "MODEL", "MODELS", "MORE", "MOST", "NAME", "NAMES", "NEAR", "NEAREST", "NOBODY",
    "NONE", "NOTHING", "NUMBER", "NUMBERS", "OBJECT", "ONLY", "OPTIONS", "ORDER", "ORDERS", "OTHER", "OTHERS",
    "OURS", "OUTPUTS", "OWN", "PAGE", "PARTS", "PASSES", "PATH", "PATHS", "PLACE", "PLAIN", "PLUGIN", "POOL",
    "PRECISE", "PREFIX", "PRODUCT", "QUERY", "RATIOS", "REMEMBERED", "REPORT", "RESULTS", "ROOT", "ROUNDS",
    "ROWS", "RULES", "RUNS", "SAME", "SAMPLE", "SCALE", "SCRIPTS", "SECONDS", "SETTINGS", "SHAPING", "SHARE",
    "SHARED", "SHORTEST", "SHOWN", "SIGNALS", "SILENT", "SIZE", "SLOWER", "SMALL", "SMOOTH", "SPEED", "SPLIT",
    "SPREAD", "STATE", "STEP", "STEPS", "SUFFIXES", "SURE", "TEMPLATE", "TEXT", "TEXTS", "TIMED", "TITLE",
    "TITLES", "TOGETHER", "TOKENS", "TRAIN", "TRIED", "TRUSTED", "UNITS", "UNKNOWN", "UNSAID", "UNSEEN",
    "UPPER", "USUAL", "VALUE", "VALUES", "VECTORS", "WAIT", "WAYS", "WEIGHT", "WEIGHTS", "WHERE", "WHOLE",
    "WIDTH", "WINDOW", "WRITTEN",
}  # fmt: skip


def public_names(kind):
    """Modules by the name of each public top-level class or function."""
    modules = defaultdict(list)
    for path, tree in MODULES.items():
        for node in tree.body:
            if isinstance(node, kind) and not node.name.startswith("_"):
                modules[node.name].append(path)
    return modules


def constants(tree):
    """Names of the top-level assignments of a module."""
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in targets:
            for name in ast.walk(target):
                if isinstance(name, ast.Name):
                    yield name.id


def test_no_two_public_classes_share_a_name():
    """The name of a public class is unique in the repository."""
    classes = public_names(ast.ClassDef)
    assert len(classes) > 100
    assert {name: paths for name, paths in classes.items() if len(paths) > 1} == {}


def test_no_two_public_functions_share_a_name():
    """A function name means one function, or the same formula in numpy and torch, in Lorentz and in flat space.

    Every module of endpoints has its `routes`, every program its `main`.
    """
    functions = public_names(ast.FunctionDef)
    assert len(functions) > 400
    shared = {name: paths for name, paths in functions.items() if len(paths) > 1 and name not in ("main", "routes")}
    assert {name: paths for name, paths in shared.items() if not all("/geometry/" in path for path in paths)} == {}


@pytest.mark.parametrize("path", MODULES)
def test_no_constant_is_a_vague_word(path):
    """A module constant names what it holds, and its unit if it has one."""
    assert sorted(name for name in constants(MODULES[path]) if name.strip("_") in VAGUE) == []


def test_all_assignments_are_checked():
    """The check covers plain, annotated, private and unpacked assignments."""
    tree = ast.parse("MOST = 3\n_LEAST: int = 4\nPAGE, SHARE = 1, 2\nMAX_PAGES = 3")
    assert list(constants(tree)) == ["MOST", "_LEAST", "PAGE", "SHARE", "MAX_PAGES"]
