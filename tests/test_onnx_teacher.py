"""A teacher in ONNX: its vectors are the pooled vectors of tokens, and unsuitable folders are refused."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.errors import DataError

pytestmark = pytest.mark.train
pytest.importorskip("onnx", reason="the extra `train` is not installed")
pytest.importorskip("tokenizers", reason="the extra `train` is not installed")

from onnx import TensorProto, helper
from onnx_teachers import WORDS, token_ids, token_table, token_vectors, write_graph, write_teacher, write_tokenizer

from anthem_model.initialisation.onnx_encoder import OnnxSentenceEncoder
from anthem_model.initialisation.teacher import Teacher, TeacherEnsemble, load_teachers

texts_of_words = st.lists(st.sampled_from([*WORDS[3:], "unheard"]), max_size=12).map(" ".join)
LOOK_UP = [helper.make_node("Gather", ["table", "input_ids"], ["output"])]
TITLES = ["red teapot", "blue kettle", "green lamp", "mug"]


def pool(vectors, pooling):
    """Unit vector of some tokens."""
    vector = vectors[0] if pooling == "cls" else vectors.mean(axis=0)
    return vector / np.linalg.norm(vector)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of teachers with CLS and with mean pooling, the latter with a prefix."""
    root = tmp_path_factory.mktemp("teachers")
    return {
        "cls": write_teacher(root / "first", settings={"pooling": "cls"}),
        "mean": write_teacher(root / "second", table=token_table(1), settings={"pooling": "mean", "prefix": "query: "}),
    }


@pytest.fixture(scope="module")
def encoders(folders):
    """Their encoders, each with the function that computes the vector of a text by hand."""
    tables = {"cls": token_table(), "mean": token_table(1)}
    prefixes = {"cls": "", "mean": "query : "}
    return {
        pooling: (OnnxSentenceEncoder(folder), lambda text, name=pooling: pool(
            token_vectors(prefixes[name] + text, tables[name]), name
        ))
        for pooling, folder in folders.items()
    }  # fmt: skip


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@given(texts=st.lists(texts_of_words, min_size=1, max_size=8))
def test_a_vector_is_the_pooled_vector_of_its_tokens(encoders, pooling, texts):
    """A text's vector is the unit vector of its first token, or of the mean over its tokens, whatever else is read."""
    encoder, expected = encoders[pooling]
    np.testing.assert_allclose(encoder.encode(texts), [expected(text) for text in texts], atol=1e-6)


@given(texts=st.lists(texts_of_words, min_size=2, max_size=8))
def test_similarities_of_teachers_side_by_side_are_their_mean(folders, tmp_path_factory, texts):
    """The cosine of two texts is the mean of what each teacher gives them; vectors have norm 1."""
    texts = ["red mug", "lamp", *texts]
    cache = tmp_path_factory.mktemp("cache")
    teachers = [Teacher(folder, cache) for folder in folders.values()]
    alone = [teacher.vectors(["green", *texts], "texts").astype(np.float32) for teacher in teachers]
    together = TeacherEnsemble(teachers).vectors(["green", *texts], "texts").astype(np.float32)
    assert together.shape == (len(texts) + 1, sum(vectors.shape[1] for vectors in alone))
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=2e-3)
    np.testing.assert_allclose(
        together @ together.T, np.mean([vectors @ vectors.T for vectors in alone], axis=0), atol=5e-3
    )


def test_one_folder_is_a_teacher_and_none_is_none(folders, tmp_path):
    """No folder gives no teacher, one gives its own vectors, and the identity of several contains that of each."""
    assert load_teachers([], tmp_path) is None
    alone = load_teachers([folders["cls"]], tmp_path)
    np.testing.assert_array_equal(
        alone.vectors(TITLES, "titles"), Teacher(folders["cls"], tmp_path).vectors(TITLES, "titles")
    )
    both = load_teachers(list(folders.values()), tmp_path)
    assert both.identity == f"{alone.identity}\n{Teacher(folders['mean'], tmp_path).identity}"


def test_a_copy_is_the_same_teacher_and_a_change_makes_another(folders, tmp_path):
    """Identity and cache depend on graph, tokenizer and settings, not on the folder; it names no path."""
    copy = shutil.copytree(folders["cls"], tmp_path / "copy")
    (copy / "README.md").write_text("Notes")
    identities = [Teacher(folder, tmp_path).identity for folder in (folders["cls"], copy)]
    assert identities[0] == identities[1]
    assert "/" not in identities[0]
    write_graph(copy / "model.onnx", token_table(2))
    identities.append(Teacher(copy, tmp_path).identity)
    write_tokenizer(copy / "tokenizer.json", template=False)
    identities.append(Teacher(copy, tmp_path).identity)
    (copy / "anthem_teacher.json").write_text('{"max_tokens": 100}')
    identities.append(Teacher(copy, tmp_path).identity)
    assert len(set(identities[1:])) == 4


@pytest.mark.parametrize(("own", "settings"), [(None, {"max_tokens": 4}), (4, None), (4, {"max_tokens": 100})])
def test_only_the_first_tokens_are_read(tmp_path, own, settings):
    """A text is cut after `max_tokens` or after the tokenizer's own limit, whichever is less."""
    folder = write_teacher(tmp_path, settings=settings)
    write_tokenizer(folder / "tokenizer.json", truncation=own)
    long, short = OnnxSentenceEncoder(folder).encode(["red mug lamp kettle", "red mug"])
    np.testing.assert_allclose(long, short, atol=1e-6)


def test_the_default_limit_is_128_tokens(tmp_path):
    """Without settings, [CLS], 126 words and [SEP] are read."""
    encoder = OnnxSentenceEncoder(write_teacher(tmp_path))
    texts = [" ".join(["red"] * count) + end for count, end in ((126, ""), (126, " mug"), (125, " mug"))]
    cut, longer, whole = encoder.encode(texts)
    np.testing.assert_allclose(cut, longer, atol=1e-6)
    assert not np.allclose(cut, whole, atol=1e-4)


@pytest.mark.parametrize(
    ("file", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False, "word_embedding_dimension": 6}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True, "include_prompt": True}, "mean"),
        ({"pooling_mode": "cls", "embedding_dimension": 6}, "cls"),
        (None, "mean"),
    ],
)
def test_pooling_is_read_from_the_files_of_sentence_transformers(tmp_path, capsys, file, pooling):
    """Without settings, 1_Pooling/config.json decides, otherwise it is mean pooling; the choice is printed."""
    folder = write_teacher(tmp_path / "teacher")
    if file:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(file))
    vectors = Teacher(folder, tmp_path).vectors(TITLES, "titles")
    expected = [pool(token_vectors(text, token_table()), pooling) for text in TITLES]
    np.testing.assert_allclose(vectors, expected, atol=2e-3)
    assert f"teacher teacher: model.onnx, {pooling} pooling, from" in capsys.readouterr().err


def test_settings_take_precedence_over_sentence_transformers(tmp_path):
    """If the folder has both files, `anthem_teacher.json` decides."""
    folder = write_teacher(tmp_path, settings={"pooling": "cls"})
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    assert OnnxSentenceEncoder(folder).settings.pooling == "cls"


@pytest.mark.parametrize(
    "content",
    ["[]", "{", '{"pooling": "max"}', '{"prefix": 3}', '{"max_tokens": 0}', '{"max_tokens": true}', '{"poling": "cls"}',
     '{"max_tokens": 1e9}', '{"pooling": ["cls"]}'],
)  # fmt: skip
def test_wrong_settings_are_refused(tmp_path, content):
    """Settings with an unknown key or value are a DataError that names the file and what is expected."""
    (write_teacher(tmp_path) / "anthem_teacher.json").write_text(content)
    with pytest.raises(DataError, match=r"anthem_teacher\.json .*Expected .*Fix the file"):
        OnnxSentenceEncoder(tmp_path)


@pytest.mark.parametrize(
    "content", ['{"pooling_mode_max_tokens": true}', '{"pooling_mode": "lasttoken"}', "{}",
                '{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}'],
)  # fmt: skip
def test_other_poolings_are_refused(tmp_path, content):
    """A pooling that is neither CLS nor mean is a DataError that names it."""
    (write_teacher(tmp_path) / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(content)
    with pytest.raises(DataError, match=r"has the pooling .*Expected cls or mean"):
        OnnxSentenceEncoder(tmp_path)


@pytest.mark.parametrize("options", [
    {"inputs": ("input_ids", "attention_mask")}, {"integer": TensorProto.INT32}, {"table": token_table().astype("f2"),
    "output": TensorProto.FLOAT16},
])  # fmt: skip
def test_inputs_and_floats_of_other_kinds(tmp_path, options):
    """Token types are optional, integers may have 32 bits, and floats 16."""
    vectors = OnnxSentenceEncoder(write_teacher(tmp_path, **options)).encode(TITLES)
    expected = [pool(token_vectors(text, token_table()), "mean") for text in TITLES]
    np.testing.assert_allclose(vectors, expected, atol=2e-3)


def test_vectors_of_texts_are_not_pooled(tmp_path):
    """If the graph's first output is `(N, E)`, only its length is changed."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
        helper.make_node("ReduceMax", ["tokens"], ["output"], axes=[1], keepdims=0),
    ]
    vectors = OnnxSentenceEncoder(write_teacher(tmp_path, nodes=nodes)).encode(["red mug"])
    expected = token_table()[token_ids("red mug")].max(axis=0)
    np.testing.assert_allclose(vectors[0], expected / np.linalg.norm(expected), atol=1e-6)


def test_a_text_without_tokens_has_the_vector_zero(tmp_path):
    """A text without tokens does not change the vectors of other texts."""
    folder = write_teacher(tmp_path)
    write_tokenizer(folder / "tokenizer.json", template=False)
    encoder = OnnxSentenceEncoder(folder)
    vectors = encoder.encode(["", "red mug", " "])
    assert not vectors[[0, 2]].any()
    np.testing.assert_array_equal(vectors[1], encoder.encode(["red mug"])[0])
    assert encoder.encode(["", ""]).tolist() == np.zeros((2, 6)).tolist()


def test_files_may_have_other_names(tmp_path):
    """The only `*.onnx` and the only `*tokenizer.json` are taken; `model.onnx` takes precedence."""
    folder = write_teacher(tmp_path)
    (folder / "model.onnx").rename(folder / "tiny.onnx")
    (folder / "tokenizer.json").rename(folder / "tiny-tokenizer.json")
    vectors = OnnxSentenceEncoder(folder).encode(TITLES)
    write_graph(folder / "model.onnx", token_table(1))
    assert not np.allclose(OnnxSentenceEncoder(folder).encode(TITLES), vectors, atol=1e-2)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), r"has no such file\. Expected tokenizer\.json"),
        (lambda folder: shutil.copy(folder / "model.onnx", folder / "b.onnx") and (folder / "model.onnx").rename(
            folder / "a.onnx"), r"has a\.onnx, b\.onnx\. Expected model\.onnx"),
        (lambda folder: (folder / "model.onnx").write_bytes(b"no graph"), "cannot be read as an ONNX graph"),
        (lambda folder: (folder / "model.onnx").write_bytes(b""), "cannot be read as an ONNX graph"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "cannot be read as a tokenizer"),
        (lambda folder: write_graph(folder / "model.onnx", token_table(), inputs=("input_ids",), nodes=LOOK_UP),
         "has the inputs input_ids"),
        (lambda folder: write_graph(folder / "model.onnx", token_table(), inputs=("input_ids", "attention_mask", "x")),
         "has the inputs .*x.*Expected input_ids and attention_mask"),
        (lambda folder: write_graph(folder / "model.onnx", token_table(), integer=TensorProto.INT16, nodes=[
            helper.make_node("Cast", ["input_ids"], ["output"], to=TensorProto.FLOAT)]), r"tensor\(int16\)"),
    ],
)  # fmt: skip
def test_a_folder_that_is_no_teacher_is_refused(tmp_path, damage, message):
    """A missing, ambiguous or unreadable file and other inputs are a DataError with the path and what is expected."""
    damage(write_teacher(tmp_path))
    with pytest.raises(DataError, match=message) as caught:
        OnnxSentenceEncoder(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"table": token_table()[:4]}, "fails on 4 texts of up to 4 tokens"),
        ({"nodes": [helper.make_node("Cast", ["input_ids"], ["output"], to=1)]}, None),
        ({"nodes": [helper.make_node("Identity", ["input_ids"], ["output"])], "output": 7}, "the type int64"),
        ({"nodes": [helper.make_node("Identity", ["table"], ["output"])]}, r"has the shape \(12, 6\)"),
        ({"nodes": [helper.make_node("ReduceSum", ["table"], ["output"], keepdims=0)]}, r"has the shape \(\)"),
    ],
)
def test_outputs_of_other_shapes_are_refused(tmp_path, options, message):
    """A graph that fails, or gives something else than a float vector for each text, is an error; `(N, T)` passes."""
    encoder = OnnxSentenceEncoder(write_teacher(tmp_path, **options))
    if message is None:
        assert encoder.encode(TITLES).shape == (4, 4)
        return
    with pytest.raises(DataError, match=message):
        encoder.encode(TITLES)


@pytest.mark.parametrize("table", [np.full_like(token_table(), np.nan), np.ones_like(token_table()), 0 * token_table()])
def test_useless_vectors_are_not_cached(tmp_path, table):
    """NaN, and the same vector for all texts, are a DataError that names the folder, and nothing is cached."""
    folder = write_teacher(tmp_path / "teacher", table=table)
    with pytest.raises(DataError, match="not finite or the same for all texts") as caught:
        Teacher(folder, tmp_path / "cache").vectors(TITLES, "titles")
    assert str(folder) in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_other_settings_are_other_vectors(tmp_path):
    """Cached vectors belong to the pooling, the prefix and the limit that they were computed with."""
    folder = write_teacher(tmp_path / "teacher")
    vectors = [Teacher(folder, tmp_path / "cache").vectors(TITLES, "titles")]
    for settings in ({"prefix": "query: "}, {"pooling": "cls"}, {"max_tokens": 3}):
        (folder / "anthem_teacher.json").write_text(json.dumps(settings))
        vectors.append(Teacher(folder, tmp_path / "cache").vectors(TITLES, "titles"))
        assert not any(np.allclose(vectors[-1], earlier, atol=1e-2) for earlier in vectors[:-1])


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_is_kept(folders, threads):
    """The graph runs with the given number of threads."""
    options = OnnxSentenceEncoder(folders["mean"], threads)._session.get_session_options()
    assert options.intra_op_num_threads == threads
    assert options.inter_op_num_threads == 1


def test_torch_is_not_needed(folders, tmp_path):
    """A teacher in ONNX works in a process that can import neither torch nor transformers."""
    code = f"""
import sys
from pathlib import Path
for name in ("torch", "transformers", "sentence_transformers", "onnx"):
    sys.modules[name] = None
from anthem_model.initialisation.teacher import Teacher
print(Teacher(Path({str(folders["mean"])!r}), Path({str(tmp_path)!r})).vectors(["red mug", "lamp"], "texts").shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(2, 6)\n"
