"""Grafana's data sources: from a dot on a chart to its trace, and from a span to the counts of its region."""

from __future__ import annotations

from .._instruments import ATTEMPTS, OPERATION_DURATION, OPERATIONS
from .promql import Lens

# Grafana puts the span's tags there, as matchers; `$$` is one `$`.
_SPANS = Lens("5m", (("region", '="$$__tags"'),))


def _of_the_span(expression: str) -> str:
    return expression.replace('region="$$__tags"', "$$__tags")


QUERIES = (
    ("95 of 100 calls there took less", _of_the_span(_SPANS.quantile(0.95, OPERATION_DURATION))),
    ("Attempts there that failed, a second", _of_the_span(_SPANS.rate(ATTEMPTS, "reason", result="error"))),
    ("Calls there, by how they ended", _of_the_span(_SPANS.rate(OPERATIONS, "outcome"))),
)

_FILE = """\
# Written by `python -m byteplus_trace.dashboards` from byteplus_trace/dashboards/sources.py: change it there.
# $PROMETHEUS_URL and $JAEGER_URL come from Grafana's environment; $$ is one $.
apiVersion: 1
datasources:
  - name: Prometheus
    uid: modelark-prometheus
    type: prometheus
    access: proxy
    url: $PROMETHEUS_URL
    isDefault: true
    jsonData:
      httpMethod: POST
      timeInterval: 15s                     # Prometheus' scrape_interval: charts look at four of them at a time
      exemplarTraceIdDestinations:
        - name: trace_id                    # the label that byteplus-trace gives its exemplars
          datasourceUid: modelark-jaeger
          urlDisplayLabel: View trace

  - name: Jaeger
    uid: modelark-jaeger
    type: jaeger
    access: proxy
    url: $JAEGER_URL
    jsonData:
      nodeGraph:
        enabled: true
      spanBar:
        type: Tag
        tag: cloud.region                   # which region a span spoke to, on its bar
      tracesToMetrics:
        datasourceUid: modelark-prometheus
        spanStartTimeShift: "-10m"
        spanEndTimeShift: "10m"
        tags:
          - key: cloud.region
            value: region
        queries:
"""


def sources_file() -> str:
    """The data sources as YAML."""
    queries = "".join(
        f"          - name: {name}\n            query: >-\n              {expression}\n"
        for name, expression in QUERIES
    )
    return _FILE + queries
