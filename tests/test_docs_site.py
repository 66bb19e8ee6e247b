"""The documentation as a site: it builds strictly, has every page, and loads nothing from other hosts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("material", reason="the extra `docs` is not installed")

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "mkdocs.yml"
# What makes a browser fetch something, as opposed to a link that a reader follows.
FETCHED = re.compile(r"<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*?\b(?:src|data)=[\"']?([^\"'\s>]+)")
LINKED = re.compile(r"<link\b([^>]*)>")
STYLED = re.compile(r"(?:url\(|@import )[\"']?([^\"');\s]+)")


def build(folder, config=CONFIG):
    """Build the site strictly into a folder; returns the finished process."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(
        [*command, "--site-dir", str(folder)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Folder of the site: a broken link or anchor, or a page outside the navigation, would have been an error."""
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def addresses(page):
    """Addresses that a browser fetches when it shows a page of the site."""
    html = page.read_text(encoding="utf-8")
    yield from FETCHED.findall(html)
    for attributes in LINKED.findall(html):
        if not re.search(r"rel=[\"']?(canonical|prev|next)", attributes):
            yield from re.findall(r"href=[\"']?([^\"'\s>]+)", attributes)


def test_every_page_is_built(site):
    """Every Markdown file of docs/ is a page, and once in the navigation."""
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert pages <= {path.relative_to(site) for path in site.rglob("*.html")}
    listed = re.findall(r"^ +- (?:\w+: )?(\S+\.md)$", CONFIG.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(str(page.with_suffix(".md")) for page in pages)


def test_the_site_loads_nothing_from_other_hosts(site):
    """Scripts, styles, fonts and pictures of every page are files of the site itself."""
    fetched = {(page.name, address) for page in site.rglob("*.html") for address in addresses(page)}
    assert len(fetched) > 100
    for path in site.rglob("*.css"):
        fetched |= {(path.name, address) for address in STYLED.findall(path.read_text(encoding="utf-8"))}
    assert [(name, address) for name, address in fetched if re.match(r"(https?:)?//", address)] == []


def test_the_check_sees_another_host(tmp_path):
    """A script, a style sheet and a font of another host are found; a link that the reader follows is not."""
    page = tmp_path / "page.html"
    page.write_text('<a href="https://a"></a><script src=https://b></script><link rel="stylesheet" href="//c">')
    assert [*addresses(page)] == ["https://b", "//c"]
    assert STYLED.findall('@font-face{src:url("https://d")} @import "//e";') == ["https://d", "//e"]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_the_links_of_pages_outside_the_site_lead_somewhere(name):
    """Every link to a file leads to one, and its anchor is a heading there."""
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        file = ROOT / (path or name)
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, target


@pytest.mark.parametrize("link", ["gone.md", "index.md#gone", "/index.md"])
def test_a_broken_link_fails_the_build(tmp_path, link):
    """A link to a page or an anchor that does not exist, and a link that works on one host only, are errors."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# Title\n\n[link]({link})\n", encoding="utf-8")
    config = tmp_path / "mkdocs.yml"
    config.write_text(f"INHERIT: {CONFIG}\ndocs_dir: {tmp_path / 'docs'}\nnav: [index.md]\n", encoding="utf-8")
    done = build(tmp_path / "site", config)
    assert done.returncode == 1
    assert f"'{link}'" in done.stderr
