"""Provides the images that the tests need: pulled where that is possible, else built from Debian."""

import hashlib
import json
import re
import shutil
from pathlib import Path

from containers.engine import NoEngineError, call, last_line

from anthem_core.artifact_cache import ensure_artifacts
from anthem_sandbox.node.java import find_java
from anthem_sandbox.node.layout import build_java_command, build_node_settings, lay_out_home
from anthem_sandbox.node.lock import load_lock

RECIPES = Path(__file__).parent
HOME_IN_IMAGE = Path("/usr/share/opensearch")
DEBIAN_PACKAGES = "ca-certificates,curl,python3,python3-venv,python3-pip"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
RECIPE_LABEL = "anthem.recipe"
MANIFEST_TIMEOUT_SECONDS = 20


def base_image():
    """Name of the base of the images that are built here, which depends on its packages alone."""
    return f"localhost/anthem-base:{hashlib.sha256(DEBIAN_PACKAGES.encode()).hexdigest()[:12]}"


def opensearch_image(release):
    """Name of OpenSearch's official image, with the registry that Docker adds to a short name."""
    return f"docker.io/opensearchproject/opensearch:{release.version}"


def python_image():
    """Name of the image that the Dockerfile of this repository starts from."""
    dockerfile = (RECIPES.parent.parent / "Dockerfile").read_text(encoding="utf-8")
    return "docker.io/library/" + re.search(r"^FROM (python:\S+)", dockerfile, re.MULTILINE)[1]


def hash_recipe():
    """Hash of what decides what the images on top of the base hold."""
    files = (Path(__file__), *sorted(path for path in RECIPES.glob("*/*") if path.parent.name != "__pycache__"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def provide_opensearch(engine, folder, release):
    """Make the image of a release available, and return its name."""
    name = opensearch_image(release)
    if not is_current(engine, name) and not pull(engine, name):
        provide_base(engine, folder)
        build(engine, name, copy_recipe("opensearch", folder, lambda context: add_node(context, release)))
    return name


def provide_python(engine, folder):
    """Make the image that the Dockerfile starts from available, and return its name."""
    name = python_image()
    if not is_current(engine, name) and not pull(engine, name):
        provide_base(engine, folder)
        build(engine, name, copy_recipe("python", folder))
    return name


def is_current(engine, name):
    """Whether the engine has an image that was pulled, or built by this recipe."""
    label = engine.call("image", "inspect", "--format", f'{{{{index .Config.Labels "{RECIPE_LABEL}"}}}}', name)
    return label.returncode == 0 and label.stdout.strip() in ("", "<no value>", hash_recipe())


def pull(engine, name):
    """Whether an image could be pulled. The short question for its manifest comes first, because a pull may hang."""
    known = engine.call("manifest", "inspect", name, timeout=MANIFEST_TIMEOUT_SECONDS).returncode == 0
    return known and engine.call("pull", name, timeout=engine.build_seconds).returncode == 0


def build(engine, name, context):
    """Build an image from a folder, which is removed afterwards.

    Raises:
        NoEngineError: The build failed.
    """
    labels = ["--label", f"{RECIPE_LABEL}={hash_recipe()}", "--build-arg", f"BASE={base_image()}"]
    done = engine.call("build", *labels, "--tag", name, str(context), timeout=engine.build_seconds)
    shutil.rmtree(context)
    if done.returncode != 0:
        raise NoEngineError(f"{engine.command} cannot build {name}: {last_line(done.stderr)}")


def copy_recipe(recipe, folder, add=None):
    """Copy the folder of an image's recipe, add files that only this machine has, and return the copy."""
    context = folder / recipe
    shutil.rmtree(context, ignore_errors=True)
    shutil.copytree(RECIPES / recipe, context)
    if add:
        add(context)
    return context


def provide_base(engine, folder):
    """Build a small Debian from the mirror that apt uses, and check that the engine runs it.

    Raises:
        NoEngineError: There is no debootstrap or no mirror, or the engine runs nothing.
    """
    if engine.call("image", "inspect", base_image()).returncode != 0:
        context = folder / "base"
        shutil.rmtree(context, ignore_errors=True)
        context.mkdir(parents=True)
        bootstrap_debian(context / "rootfs", engine.build_seconds)
        (context / "Dockerfile").write_text("FROM scratch\nCOPY rootfs/ /\n")
        build(engine, base_image(), context)
    started = engine.call("run", "--rm", base_image(), "/bin/true")
    if started.returncode != 0:
        raise NoEngineError(f"{engine.command} cannot run a container: {last_line(started.stderr)}")


def bootstrap_debian(root, seconds):
    """Install a small Debian of this machine's release into a folder.

    Raises:
        NoEngineError: There is no debootstrap or no mirror, or it takes longer than this time.
    """
    mirror, suite = read_mirror()
    # Namespaces of its own: if debootstrap is stopped, its processes end and what it mounted is gone.
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    words = [*apart, "debootstrap", "--variant=minbase", f"--include={DEBIAN_PACKAGES}", suite, str(root), mirror]
    done = call(words, seconds)
    if done.returncode != 0:
        raise NoEngineError(f"no image can be pulled, and debootstrap failed: {last_line(done.stderr or done.stdout)}")
    if CERTIFICATES.exists():
        shutil.copyfile(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
    shutil.rmtree(root / "var/cache/apt/archives")


def read_mirror():
    """Address and release of the first Debian mirror that apt is configured with.

    Raises:
        NoEngineError: apt has none.
    """
    words = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages"]
    for line in call(words, 30).stdout.splitlines():
        mirror, _, suite = line.partition(" ")
        if suite and "-" not in suite:  # the suites of updates and security fixes are no whole Debian
            return mirror, suite
    raise NoEngineError("no image can be pulled, and apt names no Debian mirror to build one from")


def add_node(context, release):
    """Add OpenSearch, as `anthem node` lays it out, and the JDK of this machine to the build of an image."""
    artifacts, java = load_lock(release.version), find_java(release=release).resolve()
    home = context / "home"
    home.mkdir()
    settings = build_node_settings(9200, 9300, {"network.host": "0.0.0.0", "cluster.name": "containers"})
    lay_out_home(home, artifacts, ensure_artifacts(artifacts), settings, release)
    arguments = build_java_command(java, HOME_IN_IMAGE, "1g", release)[1:-1]
    heap_comes_later = [word for word in arguments if not word.startswith(("-Xms", "-Xmx"))]
    (home / "java-arguments").write_text("".join(f"{json.dumps(word)}\n" for word in heap_comes_later))
    without = shutil.ignore_patterns("src.zip", "jmods", "man", "demo")
    shutil.copytree(java.parent.parent, context / "jdk", ignore=without, ignore_dangling_symlinks=True)
