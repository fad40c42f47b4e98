"""
A small ModelArk on this machine, for tests and demonstrations.

    region.py      what a test can tell a region
    server.py      sockets: connections, requests, the log
    delivery.py    a plan carried out, byte for byte
    handler.py     request -> plan: the route table, who may call, and what it is told
    faults.py      what a region was told to do wrong, and to which requests
    http1.py       requests and responses as bytes
    words.py       the values that these modules speak
    chat.py …      one module per API family: what is asked -> what is answered
    replies/       the bodies themselves, as files with holes (templates.py)

`byteplus_trace.testing` is the public face. It answers as the service was seen to
answer, invents nothing that was not seen, and counts tokens in a way that a test can
state: one for each word and each punctuation mark.
"""
