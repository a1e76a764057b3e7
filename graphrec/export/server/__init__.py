"""A server of scores: JSON in, scores out.

answers.py   what answers: a run, or a bundle that `graphrec export` wrote
batching.py  requests that wait are scored together
body.py      the bytes of a request as rows, within limits
openapi.py   what the OpenAPI page says of the model's own fields
app.py       the addresses
serve.py     the process: a model that is exchanged while it serves, and a graceful end
"""
