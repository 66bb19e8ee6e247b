"""Folders of tiny teachers in ONNX: a token's vector is its row of a table plus the mean row of the text."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

WORDS = ["[UNK]", "[CLS]", "[SEP]", "red", "blue", "green", "teapot", "kettle", "mug", "lamp", "query", ":"]
DIMENSIONS = 6
INTEGER = TensorProto.INT64
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def token_table(seed=0):
    """A random vector for each token."""
    return np.random.default_rng(seed).normal(size=(len(WORDS), DIMENSIONS)).astype(np.float32)


def token_ids(text):
    """Ids of the words of a text between [CLS] and [SEP]."""
    return [1, *(WORDS.index(word) if word in WORDS else 0 for word in text.split()), 2]


def token_vectors(text, table):
    """What the graph computes for the tokens of a text."""
    rows = table[token_ids(text)]
    return rows + rows.mean(axis=0)


def write_tokenizer(path, *, template=True, truncation=None):
    """Write the tokenizer of these words; without the template it adds neither [CLS] nor [SEP]."""
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    if template:
        tokenizer.post_processor = TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    if truncation:
        tokenizer.enable_truncation(truncation)
    tokenizer.enable_padding(length=9)  # as some models' files do; a teacher pads to the longest text instead
    tokenizer.save(str(path))


def write_graph(path, table, *, inputs=INPUTS, integer=INTEGER, nodes=None, output=TensorProto.FLOAT):
    """Write a graph; by default it ignores the types of tokens, and its mean leaves out what the mask excludes."""
    nodes = nodes or [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["flat_mask"], to=output),
        helper.make_node("Constant", [], ["last"], value_ints=[-1]),
        helper.make_node("Unsqueeze", ["flat_mask", "last"], ["mask"]),
        helper.make_node("Mul", ["rows", "mask"], ["used"]),
        helper.make_node("Constant", [], ["middle"], value_ints=[1]),
        helper.make_node("ReduceSum", ["used", "middle"], ["sum"]),
        helper.make_node("ReduceSum", ["mask", "middle"], ["count"]),
        helper.make_node("Div", ["sum", "count"], ["mean"]),
        helper.make_node("Add", ["rows", "mean"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "teacher",
        [helper.make_tensor_value_info(name, integer, ["texts", "tokens"]) for name in inputs],
        [helper.make_tensor_value_info("output", output, None)],
        [numpy_helper.from_array(table, "table")],
    )
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), path)


def write_teacher(folder, *, table=None, settings=None, **options):
    """Write the folder of a teacher, and its settings if given; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder / "tokenizer.json")
    write_graph(folder / "model.onnx", token_table() if table is None else table, **options)
    if settings is not None:
        (folder / "anthem_teacher.json").write_text(json.dumps(settings))
    return folder
