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
FINISH_REASONS = "gen_ai.response.finish_reasons"
TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
SYSTEM_INSTRUCTIONS = "gen_ai.system_instructions"
TOOL_DEFINITIONS = "gen_ai.tool.definitions"

SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
CLOUD_REGION = "cloud.region"
ERROR_TYPE = "error.type"
USER_ID = "user.id"

HTTP_METHOD = "http.request.method"
HTTP_STATUS = "http.response.status_code"
HTTP_RESEND_COUNT = "http.request.resend_count"
URL_FULL = "url.full"

OWN = "byteplus.modelark."
METADATA = OWN + "metadata."
