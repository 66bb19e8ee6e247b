"""Builds the API calls that set up OpenSearch's own search pipelines; docs/opensearch-pipeline.md shows them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anthem_core.fusion import MAX_SHIFT
from anthem_plugin.rewriter.rescore import build_rescore_body
from anthem_plugin.scoring.painless import script_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_plugin.scoring.params import ScoringParams

TRUSTED_ENDPOINTS_SETTING = "plugins.ml_commons.trusted_connector_endpoints_regex"
OVERSAMPLE_FACTOR = 5.0  # hits to rerank per hit of the page
# The user must replace these: only the cluster or its owner knows the values.
KEY_PLACEHOLDER, CONNECTOR_PLACEHOLDER, MODEL_PLACEHOLDER = "<a line of keys.txt>", "<connector_id>", "<model_id>"

_SCRIPT_PARAMS_PATH = "rescore[0].query.rescore_query.script_score.script.params"
_FILLED_PARAMS = ("centres", "limits", "weights", "tables")
# ml-commons accepts only whole seconds, at least one.
_CLIENT_CONFIG = {"max_connection": 30, "connection_timeout": 1, "read_timeout": 1, "max_retry_times": 0}


@dataclass(frozen=True, slots=True)
class PipelineCall:
    """One request to a cluster; the user must replace the placeholders between `<` and `>`."""

    method: str
    path: str
    body: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}\n{json.dumps(self.body, indent=2, ensure_ascii=False)}"


@dataclass(frozen=True, slots=True)
class PipelineTarget:
    """Values for the calls: address of the service as the cluster reaches it, index, and its text field."""

    service: str = "https://anthem.internal:8080"
    index: str = "products"
    field: str = "title"

    @property
    def query(self) -> dict[str, Any]:
        """A plain search of the field; a dotted name is put into a list, because it would break the query text path."""
        if "." in self.field:
            return {"multi_match": {"query": "fire tv", "fields": [self.field]}}
        return {"match": {self.field: {"query": "fire tv"}}}

    @property
    def query_text_path(self) -> str:
        """Path of the query text in a body with this query."""
        return "query.multi_match.query" if "." in self.field else f"query.match.{self.field}.query"


def build_rerank_calls(target: PipelineTarget, trusted: Sequence[str] = ()) -> tuple[PipelineCall, ...]:
    """Build the calls for the `rerank` response processor: settings, connector, model, pipeline and a search."""
    body = {
        "query": target.query,
        "size": 10,
        "ext": {"rerank": {"query_context": {"query_text_path": target.query_text_path}}},
    }
    return (
        build_settings_call(target, trusted),
        _connector_call("anthem-rerank", "ANTHEM reranker", _rerank_action(target), parameters={"model": "anthem"}),
        _model_call("anthem", "ANTHEM reranker"),
        PipelineCall("PUT", "/_search/pipeline/anthem", _rerank_pipeline(target)),
        PipelineCall("POST", f"/{target.index}/_search?search_pipeline=anthem", body),
    )


def build_inference_calls(target: PipelineTarget, trusted: Sequence[str] = ()) -> tuple[PipelineCall, ...]:
    """Build the calls for the `ml_inference` request processor: settings, connector, model and pipeline."""
    return (
        build_settings_call(target, trusted),
        _connector_call("anthem-encode", "ANTHEM query encoder", _encode_action(target)),
        _model_call("anthem-encode", "ANTHEM query encoder"),
        PipelineCall("PUT", "/_search/pipeline/anthem-encode", _inference_pipeline(target)),
    )


def build_inference_search(target: PipelineTarget, scoring: ScoringParams) -> PipelineCall:
    """Build a search for the `ml_inference` pipeline; the processor fills in the model id and the encoded query.

    The weights are those of the index's signals; for an index that has none yet, those of all signals of the model.
    """
    fields, signals = scoring.fields, scoring.signals or max(scoring.fusions, key=len)
    params = {
        "vector": fields.vector,
        "vector_step": scoring.vector_step,
        "trigrams": fields.trigrams,
        "model_field": fields.model,
        "model": "",
        "centres": [],
        "limits": [],
        "weights": [],
        "tables": [],
        "gamma": scoring.gamma,
        "max_shift": MAX_SHIFT,
        **scoring.fusion_for(signals).to_dict(),
    }
    script = {"id": script_id(), "params": params}
    body = build_rescore_body({"query": target.query, "size": 10}, script, fields=fields).body
    return PipelineCall("POST", f"/{target.index}/_search?search_pipeline=anthem-encode", body)


def build_settings_call(target: PipelineTarget, trusted: Sequence[str] = ()) -> PipelineCall:
    """Build the settings that let the cluster call the service.

    `trusted` are the address patterns that the cluster trusts already.
    """
    # This list replaces the existing one.
    addresses = list(dict.fromkeys([*trusted, f"^{_escape_address(target.service)}/.*$"]))
    settings = {
        "plugins.ml_commons.only_run_on_ml_node": False,
        "plugins.ml_commons.connector.private_ip_enabled": True,
        TRUSTED_ENDPOINTS_SETTING: addresses,
    }
    return PipelineCall("PUT", "/_cluster/settings", {"persistent": settings})


def _escape_address(address: str) -> str:
    return re.sub(r"([.\[\]])", r"\\\1", address.rstrip("/"))


def _connector_call(name: str, description: str, action: dict[str, Any], **options: dict[str, str]) -> PipelineCall:
    body = {
        "name": name,
        "description": description,
        "version": "1",
        "protocol": "http",
        "credential": {"key": KEY_PLACEHOLDER},
    }
    return PipelineCall(
        "POST",
        "/_plugins/_ml/connectors/_create",
        {**body, **options, "client_config": _CLIENT_CONFIG, "actions": [action]},
    )


def _action(target: PipelineTarget, path: str, body: str) -> dict[str, Any]:
    return {
        "action_type": "predict",
        "method": "POST",
        "url": target.service.rstrip("/") + path,
        "headers": {"Authorization": "Bearer ${credential.key}"},
        "request_body": body,
    }


def _rerank_action(target: PipelineTarget) -> dict[str, Any]:
    # ml-commons inserts documents and `top_n` as JSON, but query and model without the quotes of a string.
    parts = (
        '"documents": ${parameters.documents}', '"query": "${parameters.query}"', '"model": "${parameters.model}"',
        '"top_n": ${parameters.top_n}',
    )  # fmt: skip
    return _action(target, "/v1/rerank", f"{{ {', '.join(parts)} }}") | {
        "pre_process_function": "connector.pre_process.cohere.rerank",
        "post_process_function": "connector.post_process.cohere.rerank",
    }


def _encode_action(target: PipelineTarget) -> dict[str, Any]:
    return _action(target, "/encode/query", '{ "text": "${parameters.text}" }')


def _model_call(name: str, description: str) -> PipelineCall:
    body = {"name": name, "function_name": "remote", "description": description, "connector_id": CONNECTOR_PLACEHOLDER}
    return PipelineCall("POST", "/_plugins/_ml/models/_register?deploy=true", body)


def _rerank_pipeline(target: PipelineTarget) -> dict[str, Any]:
    processor = {
        "ml_opensearch": {"model_id": MODEL_PLACEHOLDER},
        "context": {"document_fields": [target.field]},
        "ignore_failure": True,  # a search must not fail with the service
    }
    return {
        "request_processors": [{"oversample": {"sample_factor": OVERSAMPLE_FACTOR}}],
        "response_processors": [{"rerank": processor}, {"truncate_hits": {}}],
    }


def _inference_pipeline(target: PipelineTarget) -> dict[str, Any]:
    output = {f"{_SCRIPT_PARAMS_PATH}.{name}": f"query.{name}" for name in _FILLED_PARAMS}
    processor = {
        "model_id": MODEL_PLACEHOLDER,
        "input_map": [{"text": target.query_text_path}],
        "output_map": [{f"{_SCRIPT_PARAMS_PATH}.model": "model", **output}],
        "ignore_failure": True,
    }
    return {"request_processors": [{"ml_inference": processor}]}
