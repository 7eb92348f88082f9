// SPDX-License-Identifier: Apache-2.0
// The cause and the remedy of every error code, by section of docs/errors.md, which is generated from here. This table is
// apart from errors.ts because no service needs it at run time. Texts are Markdown.
import type { ErrorCode } from './errors.js';

export interface ErrorHelp {
  cause: string;
  remedy: string;
}

export const errorHelp = {
  'Between gateways': {
    PEER_UNKNOWN: {
      cause:
        'A gateway presented a certificate of our authority whose identity belongs to no configured peer.',
      remedy:
        'Add the peer under `peers:` with the name in its certificate, or find out who has that certificate.',
    },
    SOURCE_NOT_ALLOWED: {
      cause:
        'A client connected to `keyExchange.insecureReferenceListen` from an address that belongs to no peer with `insecureReferenceInterop`. The connection was closed unread.',
      remedy:
        'If it is such a peer, correct the address in its `endpoint`. A peer with a certificate must use `keyExchange.listen`. Otherwise identify the host, and deny unauthorized hosts access to the out-of-band network.',
    },
    VIP_NOT_PEERS: {
      cause:
        'A peer requested a tunnel from an address that is not among the `vips` that our node file assigns to it.',
      remedy:
        "Compare the peer's `vips` in both node files. If they are correct, treat the peer as compromised.",
    },
    VIP_NOT_OURS: {
      cause: 'A peer requested a tunnel to an address that is not among our own `vips`.',
      remedy: "Compare our `vips` with those that the peer's node file assigns to us.",
    },
    VERSION_NOT_SPOKEN: {
      cause:
        'The peer accepts or offers no PSP version that we use with it: one of our `versions`, or their counterparts 2 and 3 if the peer is `authOnly`.',
      remedy:
        'Configure a common version in both node files. Set `authOnly` for each other on both sides or on neither.',
    },
    MODE_MISMATCH: {
      cause:
        "A peer offered tunnel mode but `peers.X.mode` is transport, or the reverse. Peers without modes, such as NVIDIA's application, use tunnel mode. Nothing was installed, and the flow is in hold-down as after a refusal.",
      remedy: 'Configure the same `mode` for each other in both node files.',
    },
    UNDERLAY_NOT_ALLOWED: {
      cause:
        'A peer offered an outer address outside the `underlay` prefixes that our node file assigns to it, or our own one.',
      remedy: "Set the peer's `underlay` to the prefixes that contain its secured address.",
    },
    REQUEST_INVALID: {
      cause:
        "A peer's request is malformed: no tunnel or too many, a tunnel twice, one SPI for two tunnels, or an invalid address. The message has the fault.",
      remedy: "Check the peer's software and version.",
    },
    ROTATION_NOT_ALLOWED: {
      cause: 'A peer requested a rotation of our master key, and `peers.X.mayRotate` is not set for it.',
      remedy: 'None, unless the peer should have that permission. To rotate, run `psp rotate`.',
    },
    ROTATION_LIMITED: {
      cause:
        'A peer requested a rotation of our master key, but the active key is less than a minute old. Every rotation makes new offers for all flows of all peers, so peers cannot request them more often.',
      remedy: 'None. Every peer has new keys already.',
    },
    RATE_LIMITED: {
      cause:
        'A client sends more requests or tunnels than `keyExchange.limits` allows for one identity. Nothing was done. The status has the time after which the request would be accepted, as `grpc-retry-pushback-ms`.',
      remedy:
        'Look for a fault of that peer, or for a tool with its certificate that sends requests in a loop. If its hosts really start that many flows, raise the limit.',
    },
    RESPONSE_INVALID: {
      cause:
        "A peer's answer cannot be used: a wrong number of offers, a version that we do not use, one SPI for two tunnels, or an address outside its underlay. No part of it was used.",
      remedy: "Check the peer's log and version, and its `underlay` in our node file.",
    },
    PEER_REFUSED: {
      cause:
        "The peer's application refused; the message contains its status and text. Held packets of the flow are dropped, and the request is repeated after a hold-down of 1 s, doubling up to 30 s.",
      remedy: 'Read the text. Usually the node files disagree on `vips`, `versions` or names.',
    },
    PEER_LIMITS_RATE: {
      cause:
        'A peer does not accept that many requests from us and said when the next one is welcome. It did nothing, so flows are not refused; until then nothing is sent to it (`wantsDeferred`).',
      remedy: 'Raise `keyExchange.limits` in the node file of the peer, or look for a scan by a host here.',
    },
    PEER_DOWN: {
      cause:
        "There is no connection to the peer's endpoint, or the peer closed it. The message has the reason.",
      remedy: 'Check `endpoint`, the out-of-band network, and that the peer is running.',
    },
    PEER_CERTIFICATE_INVALID: {
      cause:
        'A peer, or a client that may be anybody, presented a certificate that is not accepted: it has expired, is not valid yet, does not lead to an authority in our `tls/ca.crt`, lacks the extended key usage `serverAuth` or `clientAuth`, or belongs to another gateway; or a client presented none. The message has the reason. A client that is not proven to be a peer is identified by its address.',
      remedy:
        'Renew the certificate on the side that presents it. If its dates are correct, correct the clock. If both sides report this error, they have different authorities: both need the same `ca.crt` and certificates of that authority.',
    },
    CERTIFICATE_REFUSED: {
      cause:
        'A peer does not accept our certificate. It sent a TLS alert with the reason, or it closed the connection right after the TLS handshake, as gateways do.',
      remedy:
        "Look for `PEER_CERTIFICATE_INVALID` in the peer's log and status. Run `psp config check` here; if it finds nothing, compare the clocks and the `tls/ca.crt` of both.",
    },
    IDENTITY_SHARED: {
      cause:
        "Two gateways use one peer's identity at the same time: the epochs of two dataplanes alternate. Usually a node's files were copied to a second machine that is running as well. Each of the two invalidates the other's keys.",
      remedy:
        "Stop the gateway at one of the addresses in the message, and create its own files with `psp init`. If nobody copied the files, treat the peer's private key as stolen.",
    },
    PEER_TIMEOUT: {
      cause:
        'The peer was reached and did not answer within `keyExchange.callMs`, or longer if exchanges with it are slow.',
      remedy: 'Check the load of the peer and the out-of-band network. Raise `callMs` for long distances.',
    },
    BREAKER_OPEN: {
      cause:
        'Calls to this peer failed too often. The circuit breaker skips calls until the next trial, about once a second.',
      remedy: 'As for the preceding failure. The breaker closes on its own once the peer answers.',
    },
    SERVICE_DOWN: {
      cause:
        'A service of this node, named in the message, cannot be reached on the bus: it is not running, or the bus is down. Nothing was done.',
      remedy: 'Check the log of `psp up`. Services restart on their own.',
    },
    SERVICE_TIMEOUT: {
      cause:
        'A service of this node, named in the message, did not answer on the bus in time. It is unknown whether it carried out the request.',
      remedy: 'Check its log and its load. `psp up` ends and restarts a service that hangs.',
    },
    OVERLOADED: {
      cause: 'Too much work is in progress to accept more. The sender repeats the request.',
      remedy:
        'Look for a peer or a tool that sends requests in a loop. Otherwise run more replicas of keyexchange.',
    },
  },
  'On the bus of a node': {
    STALE: {
      cause:
        'A message was meant for an earlier start of the dataplane. Nothing was done, and the message is sent once more to the current one.',
      remedy: 'None. This is expected after a restart of the dataplane.',
    },
    REPLAY: {
      cause: 'A sealed message arrived a second time. Nothing was done.',
      remedy: 'A single one can be a repetition after a reconnect. Many are an attack on the bus.',
    },
    SEAL_INVALID: {
      cause:
        'The seal of a message does not open: it was made with another secret, or the message was changed.',
      remedy:
        'Check with `psp status` that neither dataplane nor keyexchange reports a fault of its bus secret. If both have read the same file, treat it as an attack on the bus.',
    },
    PAYLOAD_INVALID: {
      cause: 'A message on the bus does not decode as its contract requires.',
      remedy: 'Run all services at one version. Otherwise look for an unauthorized sender on the bus.',
    },
    TABLE_FULL: {
      cause: 'The flow table or the table of receive SPIs is full.',
      remedy: 'Raise `engine.maxFlows`, or look for a scan.',
    },
    SPI_EXHAUSTED: {
      cause: 'All SPIs of the active master key have been used.',
      remedy: 'Run `psp rotate`.',
    },
    TUNNELS_SPENT: {
      cause:
        "A peer requested a key, but it has been offered all of its `peers.X.maxTunnels`. NVIDIA's application would read beyond its table with one more. Tunnels that exist keep their keys.",
      remedy:
        "Restart the peer's application, then the dataplane of this gateway, which then counts from zero ([rotation](operations.md#peers-that-never-free-a-tunnel)).",
    },
    FLOW_REMOVED: {
      cause:
        "An operator removed a flow while this gateway processed a peer's request for it, so the answer would name an SPI that is not valid any more.",
      remedy: 'None. The peer repeats its request while it needs the tunnel.',
    },
    EXCHANGE_UNKNOWN: {
      cause:
        '`psp flows trace` found no exchange: the source is not the host behind this gateway, the exchange is older than the last 256 ones of a service, or the service was restarted since. Of an exchange with many flows only the first 16 are found.',
      remedy:
        'Name the host behind this gateway first. `psp flows remove SRC DST` makes the next packet start a new exchange.',
    },
    FLOW_UNKNOWN: {
      cause:
        '`psp flows remove` found no tunnel between the two addresses or prefixes: there never was one, it was removed before, or the addresses are wrong.',
      remedy: 'Compare the addresses with the list of `psp flows`.',
    },
    ENGINE_BUSY: {
      cause:
        'The command ring of the engine is full; the command was not accepted. `commandsRefused` counts these commands.',
      remedy: 'Try again. If it persists, check the load of the dataplane.',
    },
    ROTATION_PENDING: {
      cause:
        'The last rotation is not complete: the peers of some flows have not answered yet, or the drain time after the last answer is not over. A rotation is never forced before `engine.rotateGraceMs`, unless the operator agrees to the flows that it cuts (`psp rotate --force`).',
      remedy:
        'Wait as long as the message says. If flows do not get answered, check their peer; `psp status` shows which peers still use the older key.',
    },
    RESTART_NEEDED: {
      cause:
        'The node file was changed in keys that take a restart (the last column of [config.md](config.md)) and in others that a reload could apply, but these others do not fit to the values with which the node started.',
      remedy:
        'Restart the node (`psp up`) to apply the whole file, or undo the changes of the named keys and reload.',
    },
    RELOAD_REFUSED: {
      cause:
        'The changed node file is valid, but a running service cannot apply it, for example because the engine cannot do what it asks for.',
      remedy: 'See the code and the text in the message.',
    },
    STREAM_UNAVAILABLE: {
      cause:
        'The audit server is down, does not have the stream PSP_AUDIT yet, did not answer in time, or delivers fewer events than it reports. The message has the reason.',
      remedy:
        'Start the node with `psp up`, which creates the stream and restarts a server that hangs. Check the disk of `stateDir`. Meanwhile services keep their events in their spools.',
    },
    BUS_UNAVAILABLE: {
      cause:
        'The bus server or the audit server at the address in the message cannot be reached, does not answer, or refused the password.',
      remedy: 'Start the node with `psp up`, or pass the node file of the node that runs here with `-c`.',
    },
  },
  'At start': {
    CONFIG_INVALID: {
      cause:
        'The node file has faults. All are listed, each with its path, the expected value and the actual one.',
      remedy:
        'Correct them; `psp config check` reports when none is left. Every key is documented in [config.md](config.md).',
    },
    FILE_UNREADABLE: {
      cause: 'A file does not exist or cannot be read.',
      remedy: 'Follow the message. `psp init` creates all files of a node.',
    },
    SECRET_EXPOSED: {
      cause:
        'The mode of a private key, a password or the bus secret lets other users of the machine read or change it, for example because it was copied without its mode.',
      remedy:
        'Run the `chmod` command in the message. If somebody may have read the file meanwhile, remove it and create a new one with `psp init`.',
    },
    CERTIFICATE_UNUSABLE: {
      cause:
        "The node's own certificate cannot be used; the message lists every reason: it has expired or is not valid yet, it contains the name of another node or not exactly one URI, it lacks the extended key usage `serverAuth` or `clientAuth`, `tls/node.key` is not its key, it does not lead to an authority in `tls/ca.crt`, or it was withdrawn (`tls/ca.crl`, `tls/refused.txt`). `psp config check` lists the same faults, and the key exchange does not start. If a certificate expires while the node runs, `psp status` and the log report it: peers end their connections, and flows continue with the keys that they have.",
      remedy:
        'First check the clock of the machine. Otherwise run `psp certs renew` for the node on the machine that has the authority, and copy `node.crt` and `node.key` to the node. A running node uses them within a few seconds.',
    },
    CERTIFICATE_NOT_RELOADED: {
      cause:
        'Files in `tls` were changed while the node runs, and cannot be used as they are; the message has every reason: a file is incomplete or cannot be read by the account of the key exchange, the key is not that of the certificate, or the certificate does not lead to an authority in `ca.crt`. The files that were read before stay in use until they expire.',
      remedy:
        'Complete the files as the message says; the node reads them again when they change. The key exchange runs as user and group 70002 and must be able to read them: `node.key` is 0640 with group 70002, and every folder on the way permits it to enter.',
    },
    SECRET_NOT_RELOADED: {
      cause:
        'The bus secret of a running node was changed, and the new file cannot be used; the message has the reason. The secret that was read before stays in use. If another service of the node has read a newer secret meanwhile, no new keys are exchanged until both have the same one.',
      remedy:
        'Run `psp init NODE --dir D --rotate-bus-secret`, or copy a valid file there. The node reads it again when it changes. The file is 0640 with group 70000, and every folder on the way permits dataplane (user 70001) and key exchange (user 70002) to enter.',
    },
    FILE_UNWRITABLE: {
      cause:
        'A file that a command should write cannot be created or written, or exists already and `--force` was not given. For `psp up`: `lock` cannot be created in `stateDir` at the first start, or the disk does not support locks.',
      remedy: 'Use another file name, or check the permissions of the folder and the free space of its disk.',
    },
    ADDRESS_TAKEN: {
      cause: 'Another process listens on the address.',
      remedy: 'Stop it, or change the key that the message names.',
    },
    STATE_DIR_TAKEN: {
      cause:
        "Another node holds the `stateDir` in the message: a second `psp up` with the same node file, or two node files with one `stateDir`. Two nodes would destroy each other's audit.",
      remedy:
        'Stop the process in the message, or configure a separate `stateDir` for each node. A process that you cannot see runs in another container or PID namespace with the same folder.',
    },
    ADDRESS_UNUSABLE: {
      cause: 'The address does not belong to this machine, or must not be bound.',
      remedy: 'Assign the address to an interface first, or change the key that the message names.',
    },
    RIGHTS_MISSING: {
      cause: 'An operation needs a privilege that the process does not have.',
      remedy: 'Start as root. Services drop root on their own once they have opened what needs it.',
    },
    INTERFACE_MISSING: {
      cause: 'There is no interface with the configured name in this network namespace.',
      remedy: 'Create it, or change the key that the message names.',
    },
    PORT_TAKEN: {
      cause: 'Another process holds the device.',
      remedy: 'Stop it.',
    },
    DRIVER_MISSING: {
      cause: 'DPDK has no driver for the device string or PCI address.',
      remedy: "Install the driver's package (Debian: librte-net-*), or correct the string.",
    },
    PORT_FAILED: {
      cause: "The device exists but cannot be opened; the message contains the driver's reason.",
      remedy: 'Act on the reason. The usual ones are link, queue and memory settings.',
    },
    ENGINE_MISSING: {
      cause: '`engine.kind` names an engine that is not built into this addon, or that does not exist.',
      remedy:
        'Set `engine.kind` to one of the engines that the message lists, or build the addon with the engine that you want.',
    },
    ENGINE_UNSUPPORTED: {
      cause:
        'The node file asks for more than the engine can do, such as a PSP version, a mode, an address family, a sampling point, more lcores or more flows. The message lists every such key, with what the engine can do and what the file asks for. `psp config check` reports the same before a start, and `psp sampling` is refused for sampling points alone.',
      remedy: 'Change these keys, or choose another `engine.kind`.',
    },
    MTU_TOO_SMALL: {
      cause:
        'The MTU of the secured port is below the minimum of the IP version of `secured.address`: 576 for IPv4, 1280 for IPv6. At start the dataplane ends. While it runs, it continues with the MTU of the wire, which may be too small for any packet.',
      remedy:
        "Raise the wire's MTU, preferably so far that [no packet has to be fragmented](operations.md#mtu).",
    },
    MTU_NEEDS_RESTART: {
      cause:
        'The MTU of an interface was raised above the MTU at the start of the dataplane, for which its packet memory was sized. The MTU at start stays in use, so no packet is lost.',
      remedy: 'Restart the dataplane when convenient: `kill` its process, and `psp up` starts it again.',
    },
    LINK_DOWN: {
      cause:
        'An interface is administratively down or has no carrier. Packets to it are dropped as `port_down`.',
      remedy: 'Bring the interface and its other end up. The gateway continues on its own.',
    },
    INTERFACE_REMOVED: {
      cause:
        'An interface was removed, renamed or moved to another network namespace while the dataplane used it. The dataplane ends, because opening another interface needs privileges that it has dropped.',
      remedy:
        'Create the interface again under its name. [`psp up`](operations.md#links) fences it and continues within seconds.',
    },
    LCORES_TOO_MANY: {
      cause:
        '`engine.lcores` exceeds the number of cores that this process may use, or the number of queues of a DPDK port.',
      remedy: 'Lower `engine.lcores`, or give the process more cores or the device more queues.',
    },
    FENCE_FAILED: {
      cause:
        'nftables did not accept the fence. Without it the dataplane does not start on a kernel interface.',
      remedy:
        'Act on the reason. The package nftables and a kernel with netdev chains (ingress and egress) are required.',
    },
    ENGINE_FAILED: {
      cause:
        'The engine failed in a way that has no code of its own; the message contains the detail, for example that the system refused to create another thread.',
      remedy:
        'If the system refuses threads, raise the limit in the message. Otherwise keep the log and report the failure; the dataplane restarts on its own.',
    },
  },
  'Of tools for capture files': {
    CAPTURE_MALFORMED: {
      cause:
        'A file is neither pcap nor pcapng, ends in the middle of a record, or has impossible lengths. The message names the last valid frame. Nothing was written.',
      remedy:
        'Decompress it, convert it with `editcap -F pcap`, or keep its valid part with `editcap IN OUT`.',
    },
    FRAME_NOT_ENCRYPTED: {
      cause:
        'A frame, counted from 1, contains an IP packet that cannot be encrypted as requested: it is cut by the snap length, malformed, followed by octets beyond its length, within layers that cannot be rewritten, a fragment in transport mode, or shorter than the crypt offset. With `--strict`, also a frame without IP. Nothing was written.',
      remedy:
        'Follow the message. Remove the frame with `editcap IN OUT N`, or leave out all such frames with `--skip-bad`.',
    },
    FRAME_NOT_DECRYPTED: {
      cause:
        'A frame, counted from 1, is UDP to port 1000 and cannot be opened: it was sealed under other master keys, changed or cut, is a fragment, has octets beyond its lengths, or is not PSP. Nothing was written.',
      remedy:
        'First compare the master keys. If the frame is not PSP, remove it with `editcap IN OUT N`, or leave out all such frames with `--skip-bad`.',
    },
  },
} as const satisfies Record<string, Partial<Record<ErrorCode, ErrorHelp>>>;
