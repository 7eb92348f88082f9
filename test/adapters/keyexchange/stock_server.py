#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# A stock gRPC server (C core) over mutual TLS that knows no method. It prints "listening", then the path of each call.
# Its enforcement of pings is that of every stock server: more than two within five minutes without calls end the
# connection. For tests only.
#   stock_server.py TLS_FOLDER PORT
import os
import sys
import threading
from concurrent import futures

import grpc

tls, port = sys.argv[1:]


def read(name):
    with open(os.path.join(tls, name), "rb") as file:
        return file.read()


class Recorder(grpc.GenericRpcHandler):
    def service(self, details):
        print(details.method, flush=True)
        return None


server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[Recorder()])
server.add_secure_port(
    f"127.0.0.1:{port}",
    grpc.ssl_server_credentials([(read("node.key"), read("node.crt"))], read("ca.crt"), require_client_auth=True),
)
server.start()
print("listening", flush=True)
threading.Event().wait()
