"""Accept orders over HTTP and enqueue them as DBOS workflows; runs in the environment of DBOS."""
# pyright: basic, reportMissingImports=false

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from dbos import DBOSClient

CLIENT = DBOSClient(system_database_url=os.environ["DBOS_DATABASE_URL"])


class Front(BaseHTTPRequestHandler):
    """POST /orders adds an order; GET answers when the process is up."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(200)

    def do_POST(self) -> None:
        order = json.loads(self.rfile.read(int(self.headers["content-length"])))
        options = {"queue_name": "videos", "workflow_name": "video", "workflow_id": order["id"]}
        CLIENT.enqueue(options, order)
        self._answer(202)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Write no line for each request."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Front).serve_forever()
