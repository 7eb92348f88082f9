#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# A peer that speaks as NVIDIA's DOCA PSP Gateway does, made of other projects' software: gRPC's C core without TLS, protoc
# and OpenSSL through Debian's Python packages, and no code of this gateway. It knows no epoch, no offer number and no
# mode, and its offers always contain that application's constant cookie. It runs in the namespace of gateway b with
# addresses of its own, carries out the commands that it reads from stdin, one JSON object a line, and prints one JSON
# line for each. For tests only.
#   reference_peer.py STUBS
import importlib
import ipaddress
import json
import os
import queue
import socket
import struct
import sys
import threading
import time
from concurrent import futures

import grpc
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

sys.path.insert(0, sys.argv[1])
messages = importlib.import_module("psp_gateway_pb2")
services = importlib.import_module("psp_gateway_pb2_grpc")

GATEWAY = "198.51.100.1:3001"
OWN_OOB = "198.51.100.3"
OWN_WIRE = "192.0.2.3"
COOKIE = 0x778899AABBCCDDEE
UDP_PORT = 7777
# Longer than any step takes on a busy machine.
TIMEOUT_S = 60


class Offers:
    """Our receive keys by SPI; SPIs count up, as those of a device do."""

    def __init__(self):
        self.lock = threading.Lock()
        self.spi = 0x1000
        self.keys = {}
        with open("/sys/class/net/veth-wire/address") as file:
            self.mac = file.read().strip()

    def make(self, version):
        key = os.urandom(16 if version == 0 else 32)
        with self.lock:
            self.spi += 1
            spi = self.spi
            self.keys[spi] = key
        return messages.TunnelParameters(
            mac_addr=self.mac,
            ip_addr=OWN_WIRE,
            psp_version=version,
            spi=spi,
            encryption_key=key,
            virt_cookie=COOKIE,
            encap_type=4,
        )


class Service(services.PSP_GatewayServicer):
    """Answers as `mode` says: "answer", "hang", or the name of a gRPC status."""

    def __init__(self, offers):
        self.offers = offers
        self.mode = "answer"
        self.asked = []

    def RequestMultipleTunnelParams(self, request, context):
        self.asked.append([(tunnel.virt_src_ip, tunnel.virt_dst_ip) for tunnel in request.tunnels])
        if self.mode == "hang":
            while self.mode == "hang" and context.is_active():
                time.sleep(0.02)
        if self.mode not in ("answer", "hang"):
            context.abort(grpc.StatusCode[self.mode], "the test says so")
        made = [self.offers.make(request.psp_versions_accepted[0]) for _ in request.tunnels]
        return messages.MultiTunnelResponse(request_id=request.request_id, tunnels_params=made)


class Wire:
    """UDP port 1000: packets that arrive, decrypted with the key of their SPI, and packets that leave."""

    def __init__(self, offers):
        self.offers = offers
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((OWN_WIRE, 1000))
        self.arrived = queue.Queue()
        self.iv = 1
        threading.Thread(target=self.receive, daemon=True).start()

    def receive(self):
        while True:
            packet, _ = self.socket.recvfrom(4096)
            spi = struct.unpack("!I", packet[4:8])[0]
            inner = AESGCM(self.offers.keys[spi]).decrypt(packet[4:16], packet[16:], packet[:16])
            has_cookie = packet[3] & 2 != 0
            cookie = struct.unpack("!Q", inner[:8])[0] if has_cookie else 0
            self.arrived.put({"spi": spi, "cookie": hex(cookie), "text": inner[8 * has_cookie + 28 :].decode()})

    def send(self, given, source, destination, text, cookie):
        """One datagram in tunnel mode, with a cookie and without a crypt offset (PSP specification, "Packet Format")."""
        self.iv += 1
        header = struct.pack("!BBBBIQ", 4, 2, 0, given.psp_version << 2 | 3, given.spi, self.iv)
        body = struct.pack("!Q", cookie) + datagram(source, destination, text)
        sealed = AESGCM(given.encryption_key).encrypt(header[4:16], body, header)
        self.socket.sendto(header + sealed, (given.ip_addr, 1000))


def datagram(source, destination, text):
    """An IPv4 packet with a UDP datagram; UDP checksum 0: none."""
    payload = text.encode()
    udp = struct.pack("!HHHH", UDP_PORT, UDP_PORT, 8 + len(payload), 0) + payload
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + addresses
    total = sum(struct.unpack("!10H", header))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return header[:10] + struct.pack("!H", ~total & 0xFFFF) + header[12:] + udp


def channel():
    # The source address of our connections is what the gateway knows us by.
    return grpc.insecure_channel(GATEWAY, options=[("grpc.use_local_subchannel_pool", 1)])


class Client:
    def __init__(self, offers):
        self.offers = offers
        self.stub = services.PSP_GatewayStub(channel())
        self.given = {}

    def request(self, command):
        versions = command.get("versions", [1])
        tunnels = []
        for source, destination in command["tunnels"]:
            tunnel = messages.SingleTunnelRequest(virt_src_ip=source, virt_dst_ip=destination)
            tunnel.inner_type = command.get("inner_type", 4)
            if command.get("reverse", True):
                tunnel.reverse_params.CopyFrom(self.offers.make(versions[0]))
                tunnel.reverse_params.encap_type = command.get("encap_type", 4)
            tunnels.append(tunnel)
        # The application counts its requests from 1 after each of its starts.
        return messages.MultiTunnelRequest(request_id=1, psp_versions_accepted=versions, tunnels=tunnels)

    def ask(self, command):
        request = self.request(command)
        try:
            response = self.stub.RequestMultipleTunnelParams(request, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            return {"status": error.code().name, "details": error.details()}
        for tunnel, given in zip(request.tunnels, response.tunnels_params):
            self.given[tunnel.virt_src_ip] = given
        offered = [tunnel.reverse_params.spi for tunnel in request.tunnels]
        given = response.tunnels_params
        return {
            "status": "OK",
            "requestId": response.request_id,
            "versions": sorted({each.psp_version for each in given}),
            "spis": [each.spi for each in given],
            "cookies": [hex(each.virt_cookie) for each in given],
            "offered": offered,
        }

    def rotate(self):
        try:
            self.stub.RequestKeyRotation(messages.KeyRotationRequest(request_id=1), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            return {"status": error.code().name, "details": error.details()}
        return {"status": "OK"}


def addresses(first, count):
    base = int(ipaddress.ip_address(first))
    return [str(ipaddress.ip_address(base + i)) for i in range(count)]


def main():
    offers = Offers()
    wire = Wire(offers)
    service = Service(offers)
    server = grpc.server(futures.ThreadPoolExecutor(64))
    services.add_PSP_GatewayServicer_to_server(service, server)
    server.add_insecure_port(f"{OWN_OOB}:3000")
    server.start()
    client = Client(offers)

    def carry_out(command):
        what = command["do"]
        if what == "mode":
            service.mode = command["mode"]
            return {}
        if what == "asked":
            return {"requests": service.asked}
        if what == "ask":
            return client.ask(command)
        if what == "rotate":
            return client.rotate()
        if what == "askMany":
            tunnels = [[source, command["destination"]] for source in addresses(command["first"], command["count"])]
            return client.ask({**command, "tunnels": tunnels})
        if what == "askParallel":
            clients = [Client(offers) for _ in range(command["clients"])]
            with futures.ThreadPoolExecutor(len(clients)) as pool:
                work = [pool.submit(each.ask, command) for each in clients for _ in range(command["times"])]
                return {"answers": [each.result() for each in work]}
        if what == "send":
            given = client.given[command["source"]]
            cookie = given.virt_cookie ^ command.get("wrong", 0)
            wire.send(given, command["source"], command["destination"], command["text"], cookie)
            return {}
        if what == "receive":
            while True:
                arrived = wire.arrived.get(timeout=TIMEOUT_S)
                if arrived["text"] == command["text"]:
                    return arrived
        raise ValueError(what)

    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(carry_out(json.loads(line))), flush=True)
    server.stop(None)


main()
