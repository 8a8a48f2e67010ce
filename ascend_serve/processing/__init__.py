"""Processors: from the bytes that people have to the tensors of a model, and from its outputs to what they ask for.

Rests on `spec` and `errors` alone. It knows no server, no device and no Ray; what a processor needs beside numpy
(Pillow, a tokeniser) it imports itself, when it is made.
"""
