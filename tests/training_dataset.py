"""A dataset of twenty products to train on."""

from anthem_core.beir import Dataset, Product

COLOURS = ("red", "blue", "green", "black", "white")
THINGS = ("teapot", "kettle", "desk lamp", "coffee mug")


def build_dataset(judged=True):
    """Twenty products; each title is a query with three judged products: itself, one of its kind and another one."""
    titles = [f"{colour} {thing}" for colour in COLOURS for thing in THINGS]
    products = {f"p{number}": Product(f"p{number}", title) for number, title in enumerate(titles)}
    queries = {f"q{number}": title for number, title in enumerate(titles)}
    qrels = {
        f"q{number}": {f"p{number}": 3, f"p{(number + 4) % 20}": 1, f"p{(number + 1) % 20}": 0} for number in range(20)
    }
    return Dataset(products, queries, {"train": qrels, "test": {"q0": {"p9": 3}}} if judged else {})
