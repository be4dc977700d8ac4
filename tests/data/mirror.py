"""A mirror on 127.0.0.1 that fails as it is told to."""

import http.server
import socket
import struct
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with self.server.guard:
            scripts = self.server.scripts
            kinds = scripts.get(self.path, ["404"])
            kind = kinds.pop(0) if len(kinds) > 1 else kinds[0]
            self.server.log.append((self.path, self.headers.get("Range")))
        self.content = self.server.contents.get(self.path, self.server.content)
        getattr(self, f"do_{kind}", self.do_status)(kind)

    def start(self):
        return int(self.headers.get("Range", "bytes=0-").split("=")[1].rstrip("-"))

    def send(self, content, *, ranges=True, end=None, shift=0, length=True):
        ranges = ranges and "Range" in self.headers
        start = self.start() if ranges else 0
        if start >= len(content):
            return self.do_status(416)
        self.send_response(206 if ranges else 200)
        if ranges:
            last, size = len(content) - 1, len(content)
            span = f"bytes {start + shift}-{last}/{size}"
            self.send_header("Content-Range", span)
        if length:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:end])
        return None

    def do_status(self, code):
        self.send_response(int(code))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_right(self, _):
        self.send(self.content)

    def do_whole(self, _):
        self.send(self.content, ranges=False)

    def do_unmeasured(self, _):
        self.send(self.content, ranges=False, length=False)

    def do_truncated(self, _):
        self.send(self.content[:1000])

    def do_page(self, _):
        self.send(b"<html>Please pay</html>", ranges=False)

    def do_wrong(self, _):
        self.send(self.content[::-1])

    def do_shifted(self, _):
        self.send(self.content, shift=1)

    def do_cut(self, _):
        self.send(self.content, end=(self.start() + len(self.content)) // 2)

    def do_reset(self, _):
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.send(self.content, end=(self.start() + len(self.content)) // 2)
        self.wfile.flush()
        self.connection.close()

    def do_noise(self, _):
        self.wfile.write(b"220 this is no HTTP\r\n\r\n")

    def do_silent(self, _):
        middle = (self.start() + len(self.content)) // 2
        self.send(self.content, end=middle)
        self.server.over.wait(3)  # longer than the client's patience
        self.wfile.write(self.content[middle:])

    def do_gate(self, _):
        self.server.gate.wait(60)
        self.send(self.content)

    def log_message(self, *_):
        pass


class Mirror(http.server.ThreadingHTTPServer):
    """Serve content under addresses that :meth:`url` makes, each with a script."""

    def __init__(self, content=b""):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.contents = content, {}
        self.scripts, self.log = {}, []
        self.guard = threading.Lock()
        self.over, self.gate = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.gate.set()
        self.shutdown()
        self.thread.join()
        self.server_close()

    def handle_error(self, *_):
        pass  # the client hung up

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def url(self, *script):
        """Return a new address; each request takes a step, the last one repeats."""
        path = f"/{len(self.scripts)}"
        self.scripts[path] = list(script)
        return self.address + path

    def ranges(self):
        """Return what the requests asked for, as the first byte wanted."""
        return [int(span[6:-1]) if span else 0 for _, span in self.log]
