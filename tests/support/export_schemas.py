"""JSON Schemas of the exported files: the required parts of each format, in our own words."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
TEXT: Schema = {"type": "string", "minLength": 1}
TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
NUMBER: Schema = {"type": "number"}
UUID4 = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def record(required: Schema, optional: Schema | None = None) -> Schema:
    """An object of exactly these fields."""
    return {
        "type": "object",
        "required": list(required),
        "properties": required | (optional or {}),
        "additionalProperties": False,
    }


MODEL = record(
    {
        "name": TEXT,
        "id": {"type": "string", "pattern": "^[^/]+/[^/]+$"},
        "additional_details": {
            **TEXTS,
            "required": ["deployment_type", "model_availability"],
            "properties": {
                "deployment_type": {"enum": ["self_deployed", "externally_managed", "unknown"]},
                "model_availability": {"enum": ["open_weights", "closed_weights", "unknown"]},
            },
        },
    },
    {"developer": TEXT, "inference_engine": record({}, {"name": TEXT, "version": TEXT})},
)
SOURCE = {
    "oneOf": [
        record({"dataset_name": TEXT, "source_type": {"const": "other"}}, {"additional_details": TEXTS}),
        record(
            {"dataset_name": TEXT, "source_type": {"const": "hf_dataset"}, "hf_repo": TEXT, "hf_split": TEXT},
            {"samples_number": {"type": "integer"}, "additional_details": TEXTS},
        ),
    ]
}
JUDGING = record(
    {
        "judges": {"type": "array", "minItems": 1, "items": record({"model_info": {**MODEL}})},
        "input_prompt": TEXT,
    },
    {"additional_details": TEXTS},
)
METRIC = record(
    {
        "lower_is_better": {"type": "boolean"},
        "score_type": {"const": "continuous"},
        "min_score": {"anyOf": [NUMBER, {"const": "-Infinity"}]},
        "max_score": {"anyOf": [NUMBER, {"const": "Infinity"}]},
    },
    {
        "evaluation_description": TEXT, "metric_id": TEXT, "metric_name": TEXT, "metric_unit": TEXT,
        "llm_scoring": JUDGING, "additional_details": TEXTS,
    },
)  # fmt: skip
INTERVAL = record(
    {"lower": NUMBER, "upper": NUMBER},
    {"confidence_level": {"type": "number", "minimum": 0, "maximum": 1}, "method": TEXT},
)
RESULT = record(
    {
        "evaluation_result_id": TEXT,
        "evaluation_name": TEXT,
        "source_data": SOURCE,
        "metric_config": METRIC,
        "score_details": record(
            {
                "score": NUMBER,
                # A rule of evalkit: the format does not require them.
                "details": {**TEXTS, "required": ["n", "n_unscored", "n_failed", "signature"]},
                "uncertainty": record({"num_samples": {"type": "integer"}}, {"confidence_interval": INTERVAL}),
            }
        ),
    },
    {"generation_config": record({"additional_details": TEXTS})},
)
EVERY_EVAL_EVER = record(
    {
        "schema_version": {"const": "0.3.0"},
        "evaluation_id": TEXT,
        "retrieved_timestamp": {"type": "string", "pattern": "^[0-9]+$"},
        "source_metadata": record(
            {
                "source_type": {"enum": ["evaluation_run", "documentation"]},
                "source_organization_name": TEXT,
                "evaluator_relationship": {"enum": ["first_party", "third_party", "collaborative", "other"]},
            },
            {"source_name": TEXT},
        ),
        "eval_library": record({"name": TEXT, "version": TEXT}, {"additional_details": TEXTS}),
        "model_info": MODEL,
        "evaluation_results": {"type": "array", "minItems": 1, "items": RESULT},
    },
    {
        "detailed_evaluation_results": record(
            {
                "format": {"const": "jsonl"},
                "file_path": {"type": "string", "pattern": f"^data/[^/]+/[^/]+/[^/]+/{UUID4}_samples\\.jsonl$"},
            },
            {
                "hash_algorithm": {"enum": ["sha256", "md5"]}, "checksum": TEXT, "total_rows": {"type": "integer"},
                "additional_details": TEXTS,
            },
        )
    },
)  # fmt: skip
EVERY_EVAL_EVER_SAMPLE = record(
    {
        "schema_version": {"const": "0.3.0"},
        "evaluation_id": TEXT,
        "model_id": TEXT,
        "evaluation_name": TEXT,
        "sample_id": TEXT,
        "interaction_type": {"const": "single_turn"},
        "input": record({"raw": TEXT, "reference": {"type": "array", "items": {"type": "string"}}}),
        "output": record({"raw": {"type": "array", "items": {"type": "string"}}}),
        "answer_attribution": {
            "type": "array",
            "items": record(
                {
                    "turn_idx": {"type": "integer", "minimum": 0},
                    "source": TEXT,
                    "extracted_value": {"type": "string"},
                    "extraction_method": TEXT,
                    "is_terminal": {"type": "boolean"},
                }
            ),
        },
        "evaluation": record({"score": NUMBER, "is_correct": {"type": "boolean"}}),
    },
    {
        "evaluation_result_id": TEXT, "sample_hash": TEXT, "error": TEXT, "metadata": TEXTS,
        "performance": record({"latency_ms": {"type": "number", "minimum": 0}}),
    },
)  # fmt: skip
LM_EVAL = {
    "type": "object",
    "required": [
        "results", "configs", "versions", "n-shot", "higher_is_better", "n-samples", "config", "date", "task_hashes",
    ],
    "properties": {
        "results": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {
                "type": "object",
                "required": ["alias"],
                "propertyNames": {"pattern": "^(alias|[^,]+,[^,]+)$"},
                "additionalProperties": {"type": ["number", "string", "null"]},
            },
        },
        "n-samples": {
            "type": "object",
            "additionalProperties": record({"original": {"type": "integer"}, "effective": {"type": "integer"}}),
        },
        "higher_is_better": {"type": "object", "additionalProperties": {"type": "object"}},
        "date": NUMBER,
    },
}  # fmt: skip
