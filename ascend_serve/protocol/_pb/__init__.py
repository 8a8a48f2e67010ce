"""The protocol's gRPC messages: `open_inference.proto` for clients of any language, `messages.py` for us."""
