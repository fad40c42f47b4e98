"""
Attribute names.

The GenAI conventions live in open-telemetry/semantic-conventions-genai since v1.42 and
have no stable release; the constants of `opentelemetry.semconv._incubating` are private
and marked deprecated. So the names are kept here (read 2026-11).
"""

from __future__ import annotations

OPERATION_NAME = "gen_ai.operation.name"
PROVIDER_NAME = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_STREAM = "gen_ai.request.stream"
CONVERSATION_ID = "gen_ai.conversation.id"
OUTPUT_TYPE = "gen_ai.output.type"
RESPONSE_ID = "gen_ai.response.id"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_STATUS = "gen_ai.response.status"
FINISH_REASONS = "gen_ai.response.finish_reasons"
TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
SYSTEM_INSTRUCTIONS = "gen_ai.system_instructions"
TOOL_DEFINITIONS = "gen_ai.tool.definitions"

MESSAGE_ATTRIBUTES = frozenset({
    "arguments", "content", "count", "description", "file_id", "filename", "finish_reason", "id", "messages", "mime_type",
    "modality", "name", "parameters", "parts", "pieces", "response", "role", "server_tool_call", "server_tool_call_response",
    "sha256", "size", "type", "uri",
})  # fmt: skip
"""The names that messages and tools are written with; every other name is somebody's content."""

SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
CLOUD_REGION = "cloud.region"
ERROR_TYPE = "error.type"
USER_ID = "user.id"

HTTP_METHOD = "http.request.method"
HTTP_METHOD_ORIGINAL = "http.request.method_original"
TASK_STATUS = "byteplus.modelark.task.status"
HTTP_STATUS = "http.response.status_code"
HTTP_RESEND_COUNT = "http.request.resend_count"
URL_FULL = "url.full"

OWN = "byteplus.modelark."
METADATA = OWN + "metadata."
API = OWN + "api"
ENDPOINT_ID = OWN + "endpoint_id"
CLIENT_REQUEST_ID = OWN + "client_request_id"
SDK_RETRY = OWN + "sdk_retry"
IMAGE_REQUESTED = OWN + "image.requested"
ATTEMPT_CAUSE = OWN + "attempt.cause"
OUTCOME = OWN + "outcome"
ATTEMPTS = OWN + "attempts"
TARGET = OWN + "target"
ERROR_CODE = OWN + "error.code"
REQUEST_ID = OWN + "request_id"
UPSTREAM_MS = OWN + "upstream_ms"
SERVICE_TIER = OWN + "service_tier"
FALLBACK_FROM = OWN + "fallback.from"
FALLBACK_REASON = OWN + "fallback.reason"
SERVER_FALLBACK = OWN + "server_fallback"
TIME_TO_FIRST_ANSWER = OWN + "time_to_first_answer"
COST_USD = OWN + "cost_usd"
CHUNKS = OWN + "chunks"
IMAGE_GENERATED = OWN + "image.generated"
IMAGE_FAILED = OWN + "image.failed"
IMAGE_OUTPUT_TOKENS = OWN + "image.output_tokens"
IMAGE_SIZE = OWN + "image.size"
