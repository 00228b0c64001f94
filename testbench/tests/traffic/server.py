"""A server on one address and port, TCP (HTTP), UDP or SCTP, that says who it is and whom it serves."""

import http.server
import socket
import sys

kind, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in address else socket.AF_INET


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        lines = int(self.path.strip("/") or 0)
        body = f"{address} {self.client_address[0]}\n".encode() + b"".join(b"%07d\n" % n for n in range(lines))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    address_family = family
    request_queue_size = 1024


if kind == "http":
    Server((address, port), Handler).serve_forever()
elif kind == "sctp":
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_SCTP) as sctp:
        sctp.bind((address, port))
        sctp.listen(16)
        while True:
            association, client = sctp.accept()
            with association:
                association.sendall(f"{address} {client[0]}\n".encode())
else:
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.bind((address, port))
        while True:
            data, client = udp.recvfrom(65535)
            udp.sendto(f"{address} {client[0]}\n".encode() + data, client)
