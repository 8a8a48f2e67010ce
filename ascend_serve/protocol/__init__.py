"""The Open Inference Protocol v2, without a server: messages, datatypes, and the codecs of HTTP and gRPC.

Nothing here knows a socket, a clock or an event loop: bytes come in, values go out, and the other way round.
A front door reads and writes the bytes; `ascend_serve.dataplane` answers the messages.
"""
