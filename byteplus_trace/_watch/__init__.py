"""
`byteplus-trace watch`: a live view of calls, from the spans that any program exports.

    otlp       bytes of an OTLP request become spans, within bounds
    spans      a span as a value
    calls      a span of a call becomes a row
    store      the newest spans and rows, within bounds
    filtering  the language of the filter
    waterfall  one call, and the spans around it
    now        the last minutes in numbers
    breakers   the state of each target's breaker, received or inferred
    export     a call as JSON, or as a test
    plain      text that is safe to write to a terminal

These know no socket, no clock and no screen. `receiver`, `keep` and `forward` bring the
spans here, `app` and its parts show them, `web` shows them in a browser.
"""
