"""llama.cpp's server, in this process."""

import json
import urllib.request

import xllamacpp


def serve(model, context, threads=2):
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model)
    parameters.n_ctx = context
    parameters.n_parallel = 1
    parameters.warmup = False
    parameters.cpuparams.n_threads = threads
    return xllamacpp.Server(parameters)


def post(server, path, body):
    request = urllib.request.Request(
        server.listening_address + path,
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def tokenize(server, string):
    body = {"content": string, "add_special": False, "parse_special": False}
    return post(server, "/tokenize", body)["tokens"]
