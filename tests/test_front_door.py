"""The front door `anthem_search`: it exports all that an application needs, and the Python code in the README runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from small_index import small_index

import anthem_search

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def index(client, encoder):
    """An index in which the query of the README has hits."""
    with small_index(client, encoder, titles=["cordless drill", "cordless vacuum", "power drill"]) as name:
        yield name


def python_blocks(name):
    """The Python code blocks of a Markdown file."""
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)


def test_every_documented_name_is_exported():
    """`__all__` has the clients, their options, the encoder, the bundle and every error, and each can be imported."""
    documented = "AnthemClient AsyncAnthemClient ClientOptions Encoder Bundle load_bundle Filter Retrieve __version__"
    assert set(documented.split()) <= set(anthem_search.__all__)
    errors = {name for name in vars(sys.modules["anthem_core.errors"]) if name.endswith("Error")}
    assert errors <= set(anthem_search.__all__)
    assert all(hasattr(anthem_search, name) for name in anthem_search.__all__)


def test_the_front_door_defines_nothing():
    """The package only re-exports: every public name in it is defined elsewhere."""
    defined_here = [
        name
        for name in anthem_search.__all__
        if getattr(getattr(anthem_search, name), "__module__", "").startswith("anthem_search")
    ]
    assert defined_here == []


def test_the_module_is_the_command():
    """`python -m anthem_search` is the command `anthem`."""
    done = subprocess.run(
        [sys.executable, "-m", "anthem_search", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"anthem, version {anthem_search.__version__}\n"


@pytest.mark.node
@pytest.mark.parametrize("name", ["README.md"])
def test_the_python_code_of_the_readme_runs(cluster, index, name):
    """Each Python block, with only the address and the index replaced, gives a reranked response."""
    blocks = python_blocks(name)
    assert blocks
    for block in blocks:
        code = block.replace("http://localhost:9200", cluster).replace('"products"', f'"{index}"')
        assert code.count(cluster) == 1
        names = {}
        exec(code, names)
        assert names["response"]["anthem"]["reranked"], names["response"]["anthem"]
