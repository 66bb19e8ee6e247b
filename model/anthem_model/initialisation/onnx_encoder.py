"""A sentence-embedding model as an ONNX graph and a tokenizer file, run by onnxruntime; torch is not needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from anthem_core.errors import DataError, require_extra
from anthem_model.initialisation.teacher_settings import (
    SETTINGS_FILE,
    TeacherSettings,
    find_one_file,
    hash_files,
    read_teacher_settings,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tokenizers import Tokenizer

TokenTable: TypeAlias = npt.NDArray[np.int64]

GRAPH_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
REQUIRED_INPUTS = ("input_ids", "attention_mask")
TOKEN_TYPES_INPUT = "token_type_ids"  # noqa: S105 (no secret)
INTEGER_TYPES: dict[str, npt.DTypeLike] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


class OnnxSentenceEncoder:
    """The model in a folder with `model.onnx` or a single `*.onnx`, and `tokenizer.json` or a single `*tokenizer.json`.

    The graph maps `input_ids`, `attention_mask` and perhaps `token_type_ids`, each `(N, T)`, to token vectors
    `(N, T, E)`, which are pooled, or to text vectors `(N, E)`.

    Raises DataError if a file is missing or unreadable or the graph has other inputs, and ExtraError if the extra
    `train` is not installed.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self.settings = read_teacher_settings(folder)
        self._path = find_one_file(folder, GRAPH_FILE, ".onnx")
        tokenizer_path = find_one_file(folder, TOKENIZER_FILE, TOKENIZER_FILE)
        self._tokenizer = load_tokenizer(tokenizer_path, self.settings)
        self._session = _load_session(self._path, threads)
        self._input_types = _check_inputs(self._session, self._path)
        graph_files = sorted(folder.glob(f"{self._path.name}*"))  # with its external data
        self.identity = f"{hash_files([tokenizer_path, *graph_files])}, {self.settings.identity}"

    def __str__(self) -> str:
        return f"{self._path.name}, {self.settings}"

    def count_tokens(self, text: str) -> int:
        """Number of tokens that the model reads of a text."""
        return len(self._tokenizer.encode(self.settings.prefix + text).ids)

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors `(N, E)` of texts, padded to the longest; a text without tokens has the vector zero.

        Raises:
            DataError: The graph fails, or its output has an unexpected shape or type.
        """
        ids, types, mask = self._tokenize(texts)
        used = mask.any(axis=1)
        if not used.any():  # run the graph all the same: its output has the number of dimensions
            mask[:, :1] = 1
        rows = used if used.any() else ~used
        vectors = self._pool(self._run(ids[rows], types[rows], mask[rows]), mask[rows])
        output = np.zeros((len(texts), vectors.shape[1]), np.float32)
        if used.any():
            output[used] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
        return output

    def _tokenize(self, texts: Sequence[str]) -> tuple[TokenTable, TokenTable, TokenTable]:
        """Ids, types and mask of the tokens of texts, `(N, T)`, zero-padded.

        Each text is encoded on its own, because `encode_batch` of tokenizers uses all processors, not just `threads`.
        """
        encodings = [self._tokenizer.encode(self.settings.prefix + text) for text in texts]
        tables = np.zeros((3, len(texts), max(1, *(len(encoding.ids) for encoding in encodings))), np.int64)
        for row, encoding in enumerate(encodings):
            tables[:, row, : len(encoding.ids)] = encoding.ids, encoding.type_ids, encoding.attention_mask
        return tables[0], tables[1], tables[2]

    def _run(self, ids: TokenTable, types: TokenTable, mask: TokenTable) -> npt.NDArray[np.floating]:
        values = {"input_ids": ids, "attention_mask": mask, TOKEN_TYPES_INPUT: types}
        feed = {name: values[name].astype(dtype) for name, dtype in self._input_types.items()}
        try:
            output = np.asarray(self._session.run(None, feed)[0])
        except Exception as error:  # onnxruntime raises classes without a common base
            raise DataError(
                f"{self._path} fails on {len(ids)} texts of up to {ids.shape[1]} tokens ({error}). If it accepts "
                f'fewer, write {{"max_tokens": …}} into {SETTINGS_FILE} in its folder; otherwise copy it again.'
            ) from error
        is_expected = output.shape[: output.ndim - 1] in (ids.shape[:1], ids.shape)
        if not is_expected or not np.issubdtype(output.dtype, np.floating):
            raise DataError(
                f"The first output of {self._path} has the shape {output.shape} and the type {output.dtype} for "
                f"{len(ids)} texts of {ids.shape[1]} tokens. Expected floats of shape (texts, tokens, "
                "dimensions) or (texts, dimensions). Name the folder of a sentence-embedding model."
            )
        return output

    def _pool(self, output: npt.NDArray[np.floating], mask: TokenTable) -> npt.NDArray[np.float32]:
        """The first token's vector, or the mean `Σ mask·vector / Σ mask`; one vector per text stays as it is."""
        output = output.astype(np.float32)
        if output.ndim == 2:
            return output
        if self.settings.pooling == "cls":
            return output[:, 0]
        weights = mask[:, :, None].astype(np.float32)
        means: npt.NDArray[np.float32] = (output * weights).sum(axis=1) / weights.sum(axis=1)
        return means


def load_tokenizer(path: Path, settings: TeacherSettings) -> Tokenizer:
    """A tokenizer that cuts texts after `max_tokens` or after its own limit, whichever is less, and does not pad.

    Raises:
        DataError: The file cannot be read.
        ExtraError: The extra `train` is not installed.
    """
    require_extra("train", "tokenizers")
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises Exception itself
        raise DataError(
            f"{path} cannot be read as a tokenizer ({error}). Expected the file tokenizer.json of the same model. "
            "Copy it again."
        ) from error
    own = tokenizer.truncation
    limit = min(settings.max_tokens, own["max_length"]) if own else settings.max_tokens
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit)
    return tokenizer


def _load_session(path: Path, threads: int) -> Any:  # noqa: ANN401 (onnxruntime publishes no types)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes without a common base
        raise DataError(
            f"{path} cannot be read as an ONNX graph ({error}). Copy the whole model, with its external data."
        ) from error


def _check_inputs(session: Any, path: Path) -> dict[str, npt.DTypeLike]:  # noqa: ANN401
    """Type of each input of a graph."""
    types = {value.name: value.type for value in session.get_inputs()}
    unknown = types.keys() - {*REQUIRED_INPUTS, TOKEN_TYPES_INPUT}
    if not types.keys() >= set(REQUIRED_INPUTS) or unknown or not set(types.values()) <= INTEGER_TYPES.keys():
        found = ", ".join(f"{name} {kind}" for name, kind in types.items())
        raise DataError(
            f"{path} has the inputs {found or 'none'}. Expected {' and '.join(REQUIRED_INPUTS)}, and optionally "
            f"{TOKEN_TYPES_INPUT}, as int64 or int32. Name the graph of a sentence-embedding model."
        )
    return {name: INTEGER_TYPES[kind] for name, kind in types.items()}
