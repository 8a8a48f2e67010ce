"""What many run today: one process, the standard library's threading HTTP server, pyACL by hand, batch 1.

    python -m benchmarks.baselines.glue model.om PORT ROW_BYTES OUTPUT_ROW_BYTES

POST takes the raw bytes of one row and answers the raw bytes of its output.
"""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchmarks.baselines.by_hand import HandModel


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keep-alive
    wbufsize = 1 << 16  # head and body in one segment: two would wait for each other's acknowledgement
    model: HandModel
    lock: threading.Lock

    def do_POST(self) -> None:
        row = self.rfile.read(int(self.headers["Content-Length"]))
        with self.lock:  # the model must not run twice at once
            output = self.model.run([row])[0]
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(output)))
        self.end_headers()
        self.wfile.write(output)

    def log_message(self, format: str, *args: object) -> None:
        """Write no access log."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main(path: str, port: str, row_bytes: str, output_row_bytes: str) -> None:
    """Serve until Ctrl-C."""
    _Handler.model = HandModel(path, 1, int(row_bytes), int(output_row_bytes))
    _Handler.lock = threading.Lock()
    with _Server(("127.0.0.1", int(port)), _Handler) as server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
