"""
A small ModelArk on this machine, for tests and demonstrations.

    region.py      the methods with which a test scripts a region
    server.py      sockets: connections, requests, the log
    delivery.py    a plan carried out, byte for byte
    handler.py     request -> plan: the route table, who may call, and the reply
    faults.py      the faults of a region, and the requests that they meet
    odd_replies.py replies that arrive in the place of the usual one
    http1.py       requests and responses as bytes
    values.py      the values that these modules exchange
    chat.py …      one module per API family: what is asked -> what is answered
    replies/       the bodies themselves, as files with holes (templates.py)

`byteplus_trace.testing` is the public face. It answers as the service was seen to
answer and invents nothing that was not seen. Its tokens can be counted by eye: one for
each word and each punctuation mark.
"""
