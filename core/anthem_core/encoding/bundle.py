"""The bundle: the folder an export produces and everything else reads. A value, checked when it is loaded."""

from __future__ import annotations

import hashlib
import json
import reprlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anthem_core.encoding.tokenizer import TOKENIZER_RULES, Vocabulary
from anthem_core.errors import BundleError
from anthem_core.fusion import FusionWeights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BUNDLE_FORMAT = 1
MANIFEST_FILE = "manifest.json"
TRIGRAMS_FILE = "trigrams.txt"
QUERY_GRAPH = "query_encoder.onnx"
PRODUCT_GRAPH = "product_encoder.onnx"
ATTENTION_GRAPH = "attention.onnx"
REQUIRED_FILES = (QUERY_GRAPH, PRODUCT_GRAPH, TRIGRAMS_FILE)
OPTIONAL_FILES = (ATTENTION_GRAPH,)
LEXICAL_CONTAINMENT = "lexical+containment"
ALL_SIGNALS = "lexical+containment+attention"

_RECOVERY_HINT = "Copy the whole folder again, or run `anthem export` once more."

# A comparison with NaN is false, and 1e999 is read as an infinity: each rule refuses both.
_FINITE_RULE: tuple[Callable[[float], bool], str] = (lambda value: abs(value) <= 1e6, "a number no larger than 1e6")
_WEIGHT_RULE: tuple[Callable[[float], bool], str] = (lambda value: 0 <= value <= 1e6, "a number from 0 to 1e6")
_NUMBER_RULES: dict[str, tuple[Callable[[float], bool], str]] = {
    "radius": (lambda value: 0 < value <= 10, "a number above 0, at most 10"),
    "gamma": (lambda value: 0 < value < 1, "a number between 0 and 1"),
    "slack": _FINITE_RULE,
    "bias": _FINITE_RULE,
    "lexical": _WEIGHT_RULE,
    "containment": _WEIGHT_RULE,
    "half_saturation": (lambda value: 0 < value <= 1e6, "a number above 0, at most 1e6"),
    "median_distance": _WEIGHT_RULE,
    "attention": _WEIGHT_RULE,
    "median_attention": _FINITE_RULE,
}
_MAX_INTEGERS = {"dimension": 4096, "hyperboloids": 8, "buckets": 2**31, "query_limit": 4096, "title_limit": 4096}


@dataclass(frozen=True)
class Bundle:
    """A checked bundle on disk: its folder, its vocabulary and what its manifest says."""

    path: Path
    model: str
    dimension: int
    hyperboloids: int
    radius: float
    gamma: float
    slack: float
    vocabulary: Vocabulary
    fusion: dict[str, FusionWeights]
    trained_on: list[str] = field(default_factory=list)
    quality: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def object_name(self) -> str:
        """Name of the index object of a second model, `anthem_<first 8 of its id>`."""
        return f"anthem_{self.model[:8]}"

    @property
    def attends(self) -> bool:
        """Whether the bundle has a graph for the attention score, which not every bundle has."""
        return (self.path / ATTENTION_GRAPH).is_file()

    @property
    def bytes(self) -> int:
        """Size of graphs and vocabulary in bytes."""
        return sum((self.path / name).stat().st_size for name in list_bundle_files(self.path))


def list_bundle_files(folder: Path) -> tuple[str, ...]:
    """Names of graphs and vocabulary in a bundle's folder: all that are required, and the optional ones it has."""
    return REQUIRED_FILES + tuple(name for name in OPTIONAL_FILES if (folder / name).is_file())


def compute_model_id(folder: Path, rules: dict[str, Any]) -> str:
    """Sixteen hex digits of a SHA-256 over graphs, vocabulary and text rules.

    Fusion weights are left out: tuning must not make vectors stale.
    """
    digest = hashlib.sha256(json.dumps(rules, sort_keys=True).encode())
    for name in list_bundle_files(folder):
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()[:16]


def save_manifest(bundle: Bundle) -> None:
    """Write the manifest of a bundle whose graphs lie in its folder already."""
    manifest = {
        "format": BUNDLE_FORMAT,
        "model": bundle.model,
        "dimension": bundle.dimension,
        "hyperboloids": bundle.hyperboloids,
        "radius": bundle.radius,
        "gamma": bundle.gamma,
        "slack": bundle.slack,
        "text": bundle.vocabulary.rules(),
        "fusion": {signals: fusion.to_dict() for signals, fusion in bundle.fusion.items()},
        "trained_on": bundle.trained_on,
        "quality": bundle.quality,
        "versions": bundle.versions,
        "sha256": {name: _sha256(bundle.path / name) for name in list_bundle_files(bundle.path)},
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False)
    (bundle.path / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


def write_vocabulary(vocabulary: Vocabulary, folder: Path) -> None:
    """Write the known trigrams, one a line, in the order of their ids."""
    (folder / TRIGRAMS_FILE).write_text(
        "".join(f"{gram}\n" for gram in vocabulary.known), encoding="utf-8", newline="\n"
    )


def load_bundle(name_or_path: str | Path) -> Bundle:
    """Load and check a bundle: a folder, or the name of one that ships, such as `general`.

    Raises:
        BundleError: The folder is missing, damaged, foreign, newer than this version, or changed after export.
    """
    try:
        return _load_folder(_find_folder(name_or_path))
    except OSError as error:
        raise BundleError(
            f"The bundle {reprlib.repr(str(name_or_path))} cannot be read ({error.strerror}); a folder that "
            "`anthem export` wrote was wanted, or the name of one that ships. Give its path."
        ) from error


def _load_folder(folder: Path) -> Bundle:
    manifest = _read_manifest(folder)
    try:
        _verify_checksums(folder, manifest)
        bundle = _parse_manifest(folder, manifest)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BundleError(
            f"{folder / MANIFEST_FILE}: {error!r} where a complete manifest was wanted. {_RECOVERY_HINT}"
        ) from error
    found = compute_model_id(folder, bundle.vocabulary.rules())
    if found != bundle.model:
        raise BundleError(f"{folder}: the files make model {found}, the manifest says {bundle.model}. {_RECOVERY_HINT}")
    return bundle


def find_shipped_bundles() -> dict[str, Path]:
    """Bundles that ship with the package, by name."""
    here = Path(__file__).resolve().parent
    homes = (here / "bundles", here.parent.parent / "bundles")
    return {folder.name: folder for home in homes for folder in home.glob("*") if (folder / MANIFEST_FILE).is_file()}


def _find_folder(name_or_path: str | Path) -> Path:
    folder, names = Path(name_or_path), find_shipped_bundles()
    if (folder / MANIFEST_FILE).is_file():
        return folder
    if str(name_or_path) in names:
        return names[str(name_or_path)]
    if folder.is_dir():
        return folder
    raise BundleError(
        f"No bundle '{name_or_path}': neither a folder nor one that ships ({', '.join(sorted(names)) or 'none'}). "
        "Give the folder that `anthem export` wrote."
    )


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise BundleError(f"{folder} has no {MANIFEST_FILE}; a folder that `anthem export` wrote was wanted.")
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON ({error}). {_RECOVERY_HINT}") from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if type(found) is not int or found < 1:  # `true` is an int to isinstance
        raise BundleError(
            f"{path} has format {reprlib.repr(found)}; format {BUNDLE_FORMAT} was wanted. Is this an ANTHEM bundle?"
        )
    if found > BUNDLE_FORMAT:
        raise BundleError(
            f"{path} has format {reprlib.repr(found)}; this version reads up to {BUNDLE_FORMAT}. "
            "Upgrade: pip install -U anthem-search"
        )
    return manifest


def _reject_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _verify_checksums(folder: Path, manifest: dict[str, Any]) -> None:
    sums = manifest.get("sha256")
    listed = tuple(name for name in OPTIONAL_FILES if isinstance(sums, dict) and name in sums)
    for name in dict.fromkeys((*list_bundle_files(folder), *listed)):
        path = folder / name
        if not path.is_file():
            raise BundleError(f"{folder} lacks {name}. {_RECOVERY_HINT}")
        wanted, found = sums.get(name) if isinstance(sums, dict) else None, _sha256(path)
        if wanted != found:
            raise BundleError(
                f"{path} has SHA-256 {found[:12]}…, the manifest says {str(wanted)[:12]}…. {_RECOVERY_HINT}"
            )


def _parse_manifest(folder: Path, manifest: dict[str, Any]) -> Bundle:
    return Bundle(
        path=folder,
        model=str(manifest["model"]),
        dimension=_parse_integer(folder, manifest, "dimension"),
        hyperboloids=_parse_integer(folder, manifest, "hyperboloids"),
        radius=_parse_number(folder, manifest, "radius"),
        gamma=_parse_number(folder, manifest, "gamma"),
        slack=_parse_number(folder, manifest, "slack"),
        vocabulary=_read_vocabulary(folder, manifest["text"]),
        fusion={signals: _parse_fusion(folder, weights) for signals, weights in manifest["fusion"].items()},
        trained_on=list(manifest["trained_on"]),
        quality=dict(manifest["quality"]),
        versions=dict(manifest["versions"]),
    )


def _parse_fusion(folder: Path, weights: Mapping[str, Any]) -> FusionWeights:
    return FusionWeights.from_dict({name: _parse_number(folder, weights, name) for name in weights})


def _parse_number(folder: Path, values: Mapping[str, Any], name: str) -> float:
    fits, wanted = _NUMBER_RULES[name]
    value = values[name]
    if type(value) not in (int, float) or not fits(value):
        raise _value_error(folder, name, value, wanted)
    return float(value)


def _parse_integer(folder: Path, values: Mapping[str, Any], name: str) -> int:
    value, most = values[name], _MAX_INTEGERS[name]
    if type(value) is not int or not 1 <= value <= most:
        raise _value_error(folder, name, value, f"a whole number from 1 to {most}")
    return value


def _value_error(folder: Path, name: str, value: object, wanted: str) -> BundleError:
    return BundleError(
        f"{folder / MANIFEST_FILE} has {name} {reprlib.repr(value)}; {wanted} was wanted. {_RECOVERY_HINT}"
    )


def _read_vocabulary(folder: Path, rules: dict[str, Any]) -> Vocabulary:
    foreign = {name: rules.get(name) for name, value in TOKENIZER_RULES.items() if rules.get(name) != value}
    if foreign:
        raise BundleError(
            f"{folder} was made with other text rules ({reprlib.repr(foreign)}); this version knows {TOKENIZER_RULES}. "
            "Export again with this version, or use the version named in the manifest."
        )
    known = tuple((folder / TRIGRAMS_FILE).read_text(encoding="utf-8").split("\n")[:-1])
    return Vocabulary(
        known, *(_parse_integer(folder, rules, name) for name in ("buckets", "query_limit", "title_limit"))
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
