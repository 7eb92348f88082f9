#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# A peer that consists of other projects' software: gRPC's C core, protoc and OpenSSL through Debian's Python
# packages, with the plain definition of the peer protocol and no code of this gateway. It runs in the namespace of
# gateway b with b's certificate, once as the client of an exchange and once as the server. In both cases one datagram
# passes in each direction, encrypted under the exchanged keys, and one JSON line on stdout reports both. For tests
# only.
#   stock_peer.py client TLS_FOLDER STUBS VERSION
#   stock_peer.py server TLS_FOLDER STUBS
import importlib
import json
import os
import queue
import socket
import struct
import sys
from concurrent import futures

import grpc
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

role, tls, stubs = sys.argv[1:4]
sys.path.insert(0, stubs)
messages = importlib.import_module("psp_gateway_pb2")
services = importlib.import_module("psp_gateway_pb2_grpc")

GATEWAY = "198.51.100.1:3000"
LISTEN = "198.51.100.2:3000"
OWN_ADDRESS = "192.0.2.2"
OWN_HOST = "10.2.0.2"
FAR_HOST = "10.1.0.2"
UDP_PORT = 7777
# Longer than any step takes on a busy machine.
TIMEOUT_S = 60


def read(name):
    with open(os.path.join(tls, name), "rb") as file:
        return file.read()


def psp_header(version, spi, iv):
    """PSP header without a cookie (PSP specification, "Packet Format"): tunnel mode, crypt offset 0."""
    return struct.pack("!BBBBIQ", 4, 1, 0, version << 2 | 1, spi, iv)


def encrypt(key, version, spi, iv, inner):
    header = psp_header(version, spi, iv)
    return header + AESGCM(key).encrypt(header[4:16], inner, header)


def decrypt(key, packet):
    return AESGCM(key).decrypt(packet[4:16], packet[16:], packet[:16])


def datagram(text):
    """An IPv4 packet with a UDP datagram from our host to the far one; UDP checksum 0: none."""
    payload = text.encode()
    udp = struct.pack("!HHHH", UDP_PORT, UDP_PORT, 8 + len(payload), 0) + payload
    addresses = socket.inet_aton(OWN_HOST) + socket.inet_aton(FAR_HOST)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + addresses
    total = sum(struct.unpack("!10H", header))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return header[:10] + struct.pack("!H", ~total & 0xFFFF) + header[12:] + udp


class Offer:
    """Our receive key."""

    def __init__(self, version):
        self.version = version
        self.spi = 0x12345678
        self.key = os.urandom(16 if version == 0 else 32)

    def parameters(self):
        with open("/sys/class/net/veth-wire/address") as file:
            mac = file.read().strip()
        return messages.TunnelParameters(
            mac_addr=mac,
            ip_addr=OWN_ADDRESS,
            psp_version=self.version,
            spi=self.spi,
            encryption_key=self.key,
            encap_type=4,
        )


def open_wire():
    wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    wire.bind((OWN_ADDRESS, 1000))
    wire.settimeout(TIMEOUT_S)
    return wire


def send(wire, text, given, iv=1):
    packet = encrypt(given.encryption_key, given.psp_version, given.spi, iv, datagram(text))
    wire.sendto(packet, (given.ip_addr, 1000))


def receive(wire, offer):
    packet, source = wire.recvfrom(4096)
    inner = decrypt(offer.key, packet)
    return {
        "from": source[0],
        "spi": struct.unpack("!I", packet[4:8])[0],
        "version": packet[3] >> 2 & 15,
        "text": inner[28:].decode(),
    }


def client(version):
    """Asks the gateway for a tunnel, sends into it, and receives the host's answer."""
    offer = Offer(version)
    # The default check of the host name stays enabled: the certificate must contain DNS:a.
    channel = grpc.secure_channel(
        GATEWAY,
        grpc.ssl_channel_credentials(read("ca.crt"), read("node.key"), read("node.crt")),
        options=[("grpc.ssl_target_name_override", "a")],
    )
    request = messages.MultiTunnelRequest(
        request_id=42,
        psp_versions_accepted=[version],
        tunnels=[
            messages.SingleTunnelRequest(
                virt_src_ip=OWN_HOST,
                virt_dst_ip=FAR_HOST,
                inner_type=4,
                reverse_params=offer.parameters(),
            )
        ],
    )
    stub = services.PSP_GatewayStub(channel)
    response = stub.RequestMultipleTunnelParams(request, timeout=TIMEOUT_S)
    given = response.tunnels_params[0]
    wire = open_wire()
    send(wire, "from a stock client", given)
    back = receive(wire, offer)
    return {
        "requestId": response.request_id,
        "given": {"version": given.psp_version, "ip": given.ip_addr, "keyOctets": len(given.encryption_key)},
        "back": back,
    }


class Service(services.PSP_GatewayServicer):
    """Answers an exchange with one offer and keeps what the gateway offered."""

    def __init__(self):
        self.asked = queue.Queue()

    def RequestMultipleTunnelParams(self, request, context):
        offer = Offer(request.psp_versions_accepted[0])
        self.asked.put((request, context.auth_context(), offer))
        return messages.MultiTunnelResponse(request_id=request.request_id, tunnels_params=[offer.parameters()])


def serve():
    """Waits for the gateway's request, receives what its host sends, and answers under the gateway's offer."""
    wire = open_wire()
    service = Service()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    services.add_PSP_GatewayServicer_to_server(service, server)
    credentials = grpc.ssl_server_credentials(
        [(read("node.key"), read("node.crt"))], read("ca.crt"), require_client_auth=True
    )
    server.add_secure_port(LISTEN, credentials)
    server.start()
    print("listening", file=sys.stderr, flush=True)
    request, identity, offer = service.asked.get(timeout=TIMEOUT_S)
    tunnel = request.tunnels[0]
    first = receive(wire, offer)
    send(wire, "from a stock server", tunnel.reverse_params)
    server.stop(None)
    return {
        "names": [name.decode() for name in identity["x509_subject_alternative_name"]],
        "tunnel": [tunnel.virt_src_ip, tunnel.virt_dst_ip, tunnel.inner_type, len(request.tunnels)],
        "first": first,
    }


print(json.dumps(client(int(sys.argv[4])) if role == "client" else serve()), flush=True)
