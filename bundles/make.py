"""Train and export the bundle that ships, `bundles/general`.

    python bundles/make.py ../shared/data/esci ../shared/data/queries/esci_queries.txt.gz bundles/general

The training data are the split `train` of the generated catalogue, and the split `train` of ESCI (Apache-2.0) without
products that a query of another split has judged. Both are written to `runs/general` as BEIR folders, which
`anthem train` and `anthem export` read. The teacher is bge-small-en-v1.5 (MIT), which is fetched by name. It also reads
texts of general product language: shopping queries without judgments (ESCI, Apache-2.0) and the words of its own
tokenizer.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from anthem_core.beir import Dataset, read_dataset, write_dataset
from anthem_model.data.general_texts import whole_words
from anthem_model.initialisation.known_teachers import find_teacher_folder
from anthem_sandbox.catalogue import generate_catalogue

if TYPE_CHECKING:
    from collections.abc import Set

TRAINING_SEED = "0"
TRAINING_STEPS = "200"  # validation hardly rises after the first hundred (docs/model.md)
TEACHER = "bge-small-en-v1.5"
TRAINING_SHARES = {"catalogue": "1", "esci": "3"}  # real titles teach more than generated ones


def select_training_part(dataset: Dataset) -> Dataset:
    """The queries of `train`, and the products whose id and title are not judged in any other split."""
    held_out = _judged_products(dataset, dataset.qrels.keys() - {"train"})
    held_out_titles = {dataset.products[name].title for name in held_out}
    products = {
        name: product
        for name, product in dataset.products.items()
        if name not in held_out and product.title not in held_out_titles
    }
    qrels = {
        query: {name: grade for name, grade in grades.items() if name in products}
        for query, grades in dataset.qrels["train"].items()
    }
    return Dataset(products, {query: dataset.queries[query] for query in qrels}, {"train": qrels})


def _judged_products(dataset: Dataset, splits: Set[str]) -> set[str]:
    return {product for split in splits for grades in dataset.qrels[split].values() for product in grades}


def main(esci: Path, queries: Path, bundle: Path, work: Path = Path("runs/general")) -> None:
    """Write the training data, train and export."""
    sources = {"catalogue": generate_catalogue(seed=0), "esci": select_training_part(read_dataset(esci))}
    for name, dataset in sources.items():
        write_dataset(dataset, work / name)
    words = work / "words.txt"
    tokenizer = find_teacher_folder(Path(TEACHER)) / "tokenizer.json"
    words.write_text("".join(f"{word}\n" for word in whole_words(tokenizer)), encoding="utf-8")
    checkpoint = str(work / "general.pt")
    folders = [str(work / name) for name in sources]
    shares = [argument for name in sources for argument in ("--share", TRAINING_SHARES[name])]
    texts = ["--texts", str(queries), "--texts", str(words)]
    options = ["--from", "nothing", "--teacher", TEACHER, "--seed", TRAINING_SEED, "--steps", TRAINING_STEPS]
    _run_anthem("train", *folders, "--output", checkpoint, *options, *texts, *shares)
    _run_anthem("export", checkpoint, str(bundle), "--corpus", str(work / "esci" / "corpus.jsonl.gz"))


def _run_anthem(*arguments: str) -> None:
    subprocess.run([str(Path(sys.executable).with_name("anthem")), *arguments], check=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
