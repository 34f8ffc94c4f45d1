"""llama.cpp's own server for MODEL.gguf, on loopback, until its input ends.

Prints the address on the first line.

    python serve.py MODEL.gguf
"""

import sys

import xllamacpp


def main():
    parameters = xllamacpp.CommonParams()
    parameters.model.path = sys.argv[1]
    parameters.n_ctx = 0
    parameters.n_parallel = 1
    parameters.warmup = False
    # Small models: a second thread would only wait for the first.
    parameters.cpuparams.n_threads = 1
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
