"""The bundle: the folder that `anthem export` writes and every other part reads. Immutable, checked when loaded."""

from __future__ import annotations

import hashlib
import json
import reprlib
from dataclasses import dataclass, field
from importlib import resources
from math import frexp
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anthem_core.encoding.text_rules import RULES_1, TEXT_RULES, TextRules
from anthem_core.encoding.tokenizer import Vocabulary
from anthem_core.errors import BundleError
from anthem_core.fusion import FusionWeights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

BUNDLE_FORMAT = 3
READ_FORMATS = (2, BUNDLE_FORMAT)  # format 2 has no words, and version 1 of the text rules
MANIFEST_FILE = "manifest.json"
TRIGRAMS_FILE = "trigrams.txt"
WORDS_FILE = "words.txt"
QUERY_GRAPH = "query_encoder.onnx"
PRODUCT_GRAPH = "product_encoder.onnx"
ATTENTION_GRAPH = "attention.onnx"
ATTENTION_TABLE_GRAPH = "attention_table.onnx"
REQUIRED_FILES = (QUERY_GRAPH, PRODUCT_GRAPH, TRIGRAMS_FILE)
ATTENTION_FILES = (ATTENTION_GRAPH, ATTENTION_TABLE_GRAPH)  # the table scores, the grid explains
TRAINING_FILE = "training.npz"  # parameters that `anthem train --from` reads; scores do not depend on it
OPTIONAL_FILES = (*ATTENTION_FILES, WORDS_FILE, TRAINING_FILE)
LEXICAL_CONTAINMENT = "lexical+containment"
LEXICAL_ATTENTION = "lexical+attention"
ALL_SIGNALS = "lexical+containment+attention"

_READS = f"formats {' and '.join(map(str, READ_FORMATS))}"
_RECOVERY_HINT = "Copy the whole folder again, or run `anthem export` again."

# Each rule is a test and its description. Comparisons with NaN are false and 1e999 is read as infinity, so every rule
# rejects both.
_FINITE_RULE: tuple[Callable[[float], bool], str] = (lambda value: abs(value) <= 1e6, "a number from -1e6 to 1e6")
_WEIGHT_RULE: tuple[Callable[[float], bool], str] = (lambda value: 0 <= value <= 1e6, "a number from 0 to 1e6")
_NUMBER_RULES: dict[str, tuple[Callable[[float], bool], str]] = {
    "radius": (lambda value: 0 < value <= 10, "a number above 0, at most 10"),
    "gamma": (lambda value: 0 < value < 1, "a number between 0 and 1"),
    "vector_step": (lambda value: 2**-20 <= value <= 2**10 and frexp(value)[0] == 0.5, "a number that is a power of 2"),
    "slack": _FINITE_RULE,
    "lexical_offset": (lambda value: 0.01 <= value <= 1e6, "a number from 0.01 to 1e6"),
    "containment": _WEIGHT_RULE,
    "median_distance": _WEIGHT_RULE,
    "attention": _WEIGHT_RULE,
    "median_attention": _FINITE_RULE,
}
_MAX_INTEGERS = {
    "dimension": 4096,
    "hyperboloids": 8,
    "buckets": 2**31,
    "query_limit": 4096,
    "title_limit": 4096,
    "window": 10_000,
}


@dataclass(frozen=True)
class Bundle:
    """A checked bundle on disk: its folder, its vocabulary and the values of its manifest.

    Attributes:
        path: The folder.
        model_id: Id of the model, see `compute_model_id`.
        dimension: Dimension D of the hyperbolic space; points have D + 1 coordinates.
        hyperboloids: Number of hyperboloids K per query.
        radius: Largest distance of a point from the origin.
        gamma: Weight of the part of a product inside the limits, see `geometry.containment`.
        vector_step: Unit of the coordinates of stored vectors, see `stored_vectors`.
        slack: By how much a product may exceed the limits and still count as contained.
        vocabulary: Ids of entities: words and trigrams.
        fusion: Fusion weights by set of signals: `LEXICAL_CONTAINMENT`, `LEXICAL_ATTENTION` or `ALL_SIGNALS`.
        trained_on: Names of the training data.
        quality: Metrics measured when the bundle was made.
        versions: Versions of the libraries that made the bundle.
        window: Number of lexical hits to rerank if a search sets none; None means the client's default.
    """

    path: Path
    model_id: str
    dimension: int
    hyperboloids: int
    radius: float
    gamma: float
    vector_step: float
    slack: float
    vocabulary: Vocabulary
    fusion: dict[str, FusionWeights]
    trained_on: list[str] = field(default_factory=list)
    quality: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    window: int | None = None

    @property
    def has_attention(self) -> bool:
        """Whether the bundle has the optional graphs of the attention score."""
        return (self.path / ATTENTION_TABLE_GRAPH).is_file()

    def rules(self) -> dict[str, Any]:
        """What the model's values depend on besides the files: the tokenizer's rules and the step of stored vectors."""
        return {**self.vocabulary.rules(), "vector_step": self.vector_step}

    @property
    def size_bytes(self) -> int:
        """Size of all files except manifest and model card, in bytes."""
        return sum((self.path / name).stat().st_size for name in list_bundle_files(self.path))


def list_bundle_files(folder: Path) -> tuple[str, ...]:
    """Names of the graphs and the vocabulary in a bundle's folder: all required files, and the optional ones it has."""
    return REQUIRED_FILES + tuple(name for name in OPTIONAL_FILES if (folder / name).is_file())


def compute_model_id(folder: Path, rules: dict[str, Any]) -> str:
    """Sixteen hex digits of a SHA-256 over graphs, vocabulary and the rules of a bundle.

    Fusion weights and `training.npz` are not included: changing them must not make stored values stale.
    """
    digest = hashlib.sha256(json.dumps(rules, sort_keys=True).encode())
    for name in list_bundle_files(folder):
        if name == TRAINING_FILE:
            continue
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()[:16]


def save_manifest(bundle: Bundle) -> None:
    """Write the manifest of a bundle whose graphs and vocabulary are already in its folder."""
    manifest = {
        "format": BUNDLE_FORMAT,
        "model": bundle.model_id,
        "dimension": bundle.dimension,
        "hyperboloids": bundle.hyperboloids,
        "radius": bundle.radius,
        "gamma": bundle.gamma,
        "vector_step": bundle.vector_step,
        "slack": bundle.slack,
        "text": bundle.vocabulary.rules(),
        "fusion": {signals: fusion.to_dict() for signals, fusion in bundle.fusion.items()},
        "trained_on": bundle.trained_on,
        **({} if bundle.window is None else {"window": bundle.window}),
        "quality": bundle.quality,
        "versions": bundle.versions,
        "sha256": {name: _sha256(bundle.path / name) for name in list_bundle_files(bundle.path)},
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False)
    (bundle.path / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


def write_vocabulary(vocabulary: Vocabulary, folder: Path) -> None:
    """Write the known trigrams and, if there are any, the known words, one per line, in the order of their ids."""
    _write_lines(folder / TRIGRAMS_FILE, vocabulary.trigrams)
    if vocabulary.words:
        _write_lines(folder / WORDS_FILE, vocabulary.words)
    else:
        (folder / WORDS_FILE).unlink(missing_ok=True)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def _read_lines(path: Path) -> tuple[str, ...]:
    try:
        return tuple(path.read_text(encoding="utf-8").split("\n")[:-1])
    except UnicodeDecodeError as error:
        raise BundleError(f"{path} is not UTF-8 ({error.reason}). {_RECOVERY_HINT}") from error


def load_bundle(name_or_path: str | Path) -> Bundle:
    """Load and check the bundle in a folder, or a shipped bundle by its name, such as `general`.

    Raises:
        BundleError: The folder is missing, damaged, foreign, newer than this version, or changed after export.
    """
    try:
        return _load_folder(_find_folder(name_or_path))
    except OSError as error:
        raise BundleError(
            f"The bundle {reprlib.repr(str(name_or_path))} cannot be read ({error.strerror}). Expected a folder that "
            "`anthem export` wrote, or the name of a bundle that ships with this package. Check the path."
        ) from error


def _load_folder(folder: Path) -> Bundle:
    manifest = _read_manifest(folder)
    try:
        _verify_checksums(folder, manifest)
        bundle = _parse_manifest(folder, manifest)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BundleError(
            f"{folder / MANIFEST_FILE}: {error!r}; expected a complete manifest. {_RECOVERY_HINT}"
        ) from error
    model_id = compute_model_id(folder, bundle.rules())
    if model_id != bundle.model_id:
        raise BundleError(
            f"{folder}: the files have model id {model_id}, the manifest says {bundle.model_id}. {_RECOVERY_HINT}"
        )
    return bundle


def find_shipped_bundles() -> dict[str, Path]:
    """Folders of the bundles that ship with the package, by name."""
    package = Path(str(resources.files("anthem_core")))
    homes = (package / "bundles", package.parent.parent / "bundles")  # in a wheel, in a checkout
    return {folder.name: folder for home in homes for folder in home.glob("*") if (folder / MANIFEST_FILE).is_file()}


def _find_folder(name_or_path: str | Path) -> Path:
    folder, shipped = Path(name_or_path), find_shipped_bundles()
    if (folder / MANIFEST_FILE).is_file():
        return folder
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    if folder.is_dir():
        return folder
    raise BundleError(
        f"Bundle '{name_or_path}' not found. Expected a folder that `anthem export` wrote, or the name of a bundle "
        f"that ships with this package ({', '.join(sorted(shipped)) or 'none found'}). Check the path."
    )


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise BundleError(f"{folder} has no {MANIFEST_FILE}. Expected a folder that `anthem export` wrote.")
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON ({error}). {_RECOVERY_HINT}") from error
    version = manifest.get("format") if isinstance(manifest, dict) else None
    if type(version) is not int or version < 1:  # isinstance would accept `true`
        raise BundleError(f"{path} has format {reprlib.repr(version)}; expected {_READS}. Is this an ANTHEM bundle?")
    if version < min(READ_FORMATS):
        raise BundleError(
            f"{path} has format {version}, of an earlier version; this version reads {_READS}, which "
            "have attention tables and other fusion weights. Train and export again: anthem train DATA --output "
            "CHECKPOINT, anthem export CHECKPOINT BUNDLE. Then run `anthem ingest` again."
        )
    if version > BUNDLE_FORMAT:
        raise BundleError(
            f"{path} has format {reprlib.repr(version)}; this version reads {_READS}. Upgrade ANTHEM Search."
        )
    return manifest


def _reject_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number in JSON")


def _verify_checksums(folder: Path, manifest: dict[str, Any]) -> None:
    checksums = manifest.get("sha256")
    listed = tuple(name for name in OPTIONAL_FILES if isinstance(checksums, dict) and name in checksums)
    for name in dict.fromkeys((*list_bundle_files(folder), *listed)):
        path = folder / name
        if not path.is_file():
            raise BundleError(f"{path} is missing. {_RECOVERY_HINT}")
        expected, actual = checksums.get(name) if isinstance(checksums, dict) else None, _sha256(path)
        if expected != actual:
            raise BundleError(
                f"{path} has SHA-256 {actual[:12]}…, the manifest says {str(expected)[:12]}…. {_RECOVERY_HINT}"
            )


def _parse_manifest(folder: Path, manifest: dict[str, Any]) -> Bundle:
    return Bundle(
        path=folder,
        model_id=str(manifest["model"]),
        dimension=_parse_integer(folder, manifest, "dimension"),
        hyperboloids=_parse_integer(folder, manifest, "hyperboloids"),
        radius=_parse_number(folder, manifest, "radius"),
        gamma=_parse_number(folder, manifest, "gamma"),
        vector_step=_parse_number(folder, manifest, "vector_step"),
        slack=_parse_number(folder, manifest, "slack"),
        vocabulary=_read_vocabulary(folder, manifest["text"]),
        fusion={signals: _parse_fusion(folder, weights) for signals, weights in manifest["fusion"].items()},
        trained_on=list(manifest["trained_on"]),
        quality=dict(manifest["quality"]),
        versions=dict(manifest["versions"]),
        window=_parse_integer(folder, manifest, "window") if "window" in manifest else None,
    )


def _parse_fusion(folder: Path, weights: Mapping[str, Any]) -> FusionWeights:
    return FusionWeights.from_dict({name: _parse_number(folder, weights, name) for name in weights})


def _parse_number(folder: Path, values: Mapping[str, Any], name: str) -> float:
    is_valid, expected = _NUMBER_RULES[name]
    value = values[name]
    if type(value) not in (int, float) or not is_valid(value):
        raise _value_error(folder, name, value, expected)
    return float(value)


def _parse_integer(folder: Path, values: Mapping[str, Any], name: str) -> int:
    value, maximum = values[name], _MAX_INTEGERS[name]
    if type(value) is not int or not 1 <= value <= maximum:
        raise _value_error(folder, name, value, f"a whole number from 1 to {maximum}")
    return value


def _value_error(folder: Path, name: str, value: object, expected: str) -> BundleError:
    return BundleError(
        f"{folder / MANIFEST_FILE} has {name} {reprlib.repr(value)}; expected {expected}. {_RECOVERY_HINT}"
    )


def _read_vocabulary(folder: Path, values: dict[str, Any]) -> Vocabulary:
    buckets, query_limit, title_limit = (
        _parse_integer(folder, values, name) for name in ("buckets", "query_limit", "title_limit")
    )
    trigrams = _read_lines(folder / TRIGRAMS_FILE)
    words = _read_lines(folder / WORDS_FILE) if (folder / WORDS_FILE).is_file() else ()
    rules = _read_text_rules(folder, values)
    vocabulary = Vocabulary(trigrams, buckets, query_limit, title_limit, words, rules)
    different = [name for name, value in vocabulary.rules().items() if values.get(name) != value]
    if different:
        found = reprlib.repr({name: values.get(name) for name in different})
        raise BundleError(
            f"{folder} was made with other text rules ({found}); this version has "
            f"{reprlib.repr({name: vocabulary.rules()[name] for name in different})}. "
            "Export again with this version, or use the version that the manifest names."
        )
    return vocabulary


def _read_text_rules(folder: Path, values: dict[str, Any]) -> TextRules:
    """Text rules of the version that a manifest names; a manifest without a number has version 1."""
    version = values.get("version", RULES_1.version)
    if type(version) is not int or version not in TEXT_RULES:
        raise BundleError(
            f"{folder} was made with text rules {reprlib.repr(version)}; this version knows "
            f"{' and '.join(map(str, TEXT_RULES))}. Upgrade ANTHEM Search."
        )
    return TEXT_RULES[version]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
