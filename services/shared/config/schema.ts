// SPDX-License-Identifier: Apache-2.0
// The schema of the node file: every key with its default, its meaning and what applies a change (`reload` or `restart`). The table of
// docs/config.md is generated from it. Rules that concern several keys are in cross_rules.ts.
import { z } from 'zod';
import { highestSamplingLog2, maxTunnelsPerRequest, snapBytes } from '../limits.js';
import { modeNames } from '../modes.js';
import { highestCryptOffset, ipProtocols, leastMtu } from '../protocols.js';
import {
  address,
  count,
  countOr,
  device,
  durationOr,
  endpoint,
  flag,
  interfaceAddress,
  loopback,
  milliseconds,
  name,
  prefix,
  prefixes,
  reload,
  restart,
  section,
  text,
} from './values.js';

const protocolExpected = 'tcp, udp, icmp, icmpv6 or a protocol number from 1 to 255';
const protocol = z
  .union([z.enum(['tcp', 'udp', 'icmp', 'icmpv6']), count(1, 255, protocolExpected)], {
    error: protocolExpected,
  })
  .transform((value) => (typeof value === 'string' ? ipProtocols[value] : value));

const portsExpected = 'hash, symmetricHash or a list of 16 to 4096 ports';
const portList = z
  .array(count(1, 65_535), { error: portsExpected })
  .min(16, { error: portsExpected })
  .max(4096, { error: portsExpected });

export const schema = section({
  node: restart(name, 'Name of this gateway: a-z, 0-9 and `-`. It is the identity in its certificate.'),
  /** The plaintext side. */
  unsecured: section({
    port: restart(device, 'The plaintext side: an interface, a PCI address or a DPDK device string.'),
    gateway: restart(
      z
        .preprocess(
          (value) => (typeof value === 'string' ? [value] : value),
          z.array(interfaceAddress, { error: 'address/length, or a list of them' }),
        )
        .default([]),
      'Addresses, with prefix length, that hosts may use as their gateway; one or a list. The gateway answers ARP and neighbour discovery for them.',
    ),
  }),
  /** The wire. */
  secured: section({
    port: restart(device, 'The wire: an interface, a PCI address or a DPDK device string.'),
    address: restart(
      interfaceAddress,
      'Address of this gateway on the wire, with its connected prefix. It is the source of every outer header and determines its family.',
    ),
    gateway: restart(
      address.optional(),
      'Next hop for peers outside the connected prefix: an address in that prefix, an IPv6 link-local address (`fe80::1`, also with an IPv4 `secured.address`, as in RFC 8950), or with `secured.onlink` any other address. With an IPv6 `secured.address` it must be IPv6.',
    ),
    onlink: restart(
      flag.default(false),
      '`true`: the next hop is on the link although its address is outside the connected prefix, as with `onlink` of `ip route`. The next hop must answer ARP or neighbour discovery there, and needs a route to `secured.address` through this link.',
    ),
    hopLimit: restart(
      count(1, 255).default(64),
      'TTL or hop limit of the outer header in tunnel mode, 1 to 255. The inner hop limit is never changed.',
    ),
    dscp: restart(
      countOr(0, 63, 'copy').default('copy'),
      'DSCP of the outer header in tunnel mode: `copy` copies that of the inner header (RFC 2983), a number from 0 to 63 hides it.',
    ),
    udpChecksum: restart(
      flag.default(false),
      'Sent packets have a UDP checksum. By default the field is zero, except in packets that are sent as a [GSO packet](operations.md#hosts). Both are accepted on receipt.',
    ),
    sourcePorts: restart(
      z.union([z.enum(['hash', 'symmetricHash']), portList], { error: portsExpected }).default('hash'),
      'UDP source ports: `hash` of the inner flow; `symmetricHash`, which is the same in both directions; or a list of 16 to 4096 ports from which the hash selects.',
    ),
  }),
  /** The out-of-band side. */
  keyExchange: section({
    listen: restart(
      endpoint,
      '`host:port` on the out-of-band network on which this gateway listens for peers.',
    ),
    insecureReferenceListen: restart(
      endpoint.optional(),
      '`host:port` of a second listener **without TLS**, for peers with `insecureReferenceInterop`. It is opened only if there is such a peer, and accepts connections from the addresses of such peers only.',
    ),
    exchangeMs: restart(
      milliseconds(100, 60_000).default(1000),
      'Time limit of an exchange, from the want to the install. It grows if exchanges are measured to take longer ([overload](design.md#overload)).',
    ),
    callMs: restart(
      milliseconds(50, 60_000).default(700),
      'Time limit of one call to a peer. It grows in proportion with the time limit of the exchange.',
    ),
    limits: section({
      requestsPerSecond: reload(
        count(1, 1_000_000).default(2000),
        'Requests that each peer may send, at each replica; ten times as many at once. More are refused with [`RATE_LIMITED`](errors.md#rate_limited), and a gateway then waits as long as the refusal says.',
      ),
      tunnelsPerSecond: reload(
        count(128, 10_000_000).default(20_000),
        'Tunnels in these requests; ten times as many at once, so that a peer that starts again gets all of its flows.',
      ),
      tunnelsPerRequest: reload(
        count(1, maxTunnelsPerRequest).default(maxTunnelsPerRequest),
        'Tunnels in one request; one with more is refused as a whole with [`REQUEST_INVALID`](errors.md#request_invalid). Gateways send up to 768; with a lower limit they must request the flows of larger batches one by one.',
      ),
      connections: reload(
        count(1, 1024).default(32),
        'Connections that each peer may have open, at each replica; a peer has one for each of its own replicas, and two while it renews one. A new one beyond the limit closes the oldest one.',
      ),
    }).prefault({}),
  }),
  vips: reload(prefixes(), 'Prefixes behind this gateway.'),
  peers: reload(
    z
      .record(
        name,
        section({
          endpoint: reload(endpoint, "`host:port` where the peer's key exchange listens."),
          vips: reload(
            prefixes(),
            'Prefixes behind the peer: the only addresses for which it may request and offer keys.',
          ),
          underlay: reload(
            prefixes().optional(),
            "Prefixes that must contain the peer's secured address.",
            'the prefix of `secured.address`',
          ),
          insecureReferenceInterop: reload(
            flag.default(false),
            "Keys are exchanged with the peer over gRPC **without TLS**, in both directions, because NVIDIA's DOCA PSP Gateway has none: whoever reads the out-of-band network has the keys. The peer is known by the address in its `endpoint` alone, which must be an address, and may not rotate our keys ([interoperation](interop/README.md#nvidias-application)).",
          ),
          mayRotate: reload(
            flag.default(false),
            'The peer may request a rotation of our master key. Its request never cuts a flow, and is refused while our key is less than a minute old ([rotation](operations.md#rotation)). Not allowed with `insecureReferenceInterop`.',
          ),
          maxTunnels: reload(
            count(1, 16_777_216).optional(),
            "Number of tunnels that the peer's software can be offered before it must be restarted, for NVIDIA's DOCA PSP Gateway: its `max-tunnels`. Every offer counts, also one that replaces an older one after a rotation. This gateway warns before the number is reached and never exceeds it ([rotation](operations.md#peers-that-never-free-a-tunnel)).",
            'no limit',
          ),
          mode: reload(
            z.enum(modeNames, { error: 'tunnel or transport' }).default('tunnel'),
            '`tunnel` encapsulates whole packets; `transport` keeps their own IP header, which must be routable on the wire. Both sides must use the same mode, otherwise exchanges fail with [`MODE_MISMATCH`](errors.md#mode_mismatch).',
          ),
          cookie: reload(
            flag.default(false),
            'Packets from the peer carry a virtualization cookie, which is random per offer and checked on receipt. A change applies to offers that follow, so to all of them after a rotation.',
          ),
          cryptOffset: reload(
            count(0, highestCryptOffset).default(0),
            'Part of the packets to the peer that is authenticated but readable, counted from the end of the IV in units of 4 octets, 0 to 63. A cookie takes the first two units. Not allowed with `authOnly`.',
          ),
          authOnly: reload(
            flag.default(false),
            'Traffic with the peer is authenticated by GMAC and **not encrypted**: versions 2 and 3 are used instead of 0 and 1 of `versions`. Both sides must set it, otherwise exchanges fail with [`VERSION_NOT_SPOKEN`](errors.md#version_not_spoken).',
          ),
          mtu: reload(
            count(leastMtu[4], 65_535).optional(),
            'MTU of the path to the peer, from 576, or 1280 with an IPv6 `secured.address`, to 65535.',
            'the MTU of the secured port',
          ),
          sampling: reload(
            countOr(0, highestSamplingLog2, 'off').optional(),
            'One of 2^N packets to the peer is sampled, N from 0 to 16; `off`: none.',
            '`sampling.egressLog2`',
          ),
        }),
        { error: 'a map from peer names to peers' },
      )
      .default({}),
    "Other gateways by name; the name is the identity in the peer's certificate.",
  ),
  tunnels: reload(
    z
      .array(section({ local: address, remote: address }), { error: 'a list of { local, remote }' })
      .default([]),
    'List of `{ local, remote }`: tunnels that are established without a packet, at start and after a reload. All others are established on demand.',
  ),
  trustDomain: restart(
    text((value) => /^[a-z0-9._-]{1,255}$/.test(value), 'a name of a-z, 0-9, ., _ and -').default('psp'),
    'Domain of the identities: `spiffe://<trustDomain>/gateway/<node>`.',
  ),
  versions: restart(
    z
      .array(z.literal([0, 1], { error: '0 or 1' }), { error: 'a list of 0 and 1' })
      .min(1, { error: 'at least one version' })
      .refine((list) => new Set(list).size === list.length, { error: 'each version once' })
      .default([1, 0]),
    'PSP versions in order of preference: 1 is AES-GCM-256, 0 is AES-GCM-128.',
  ),
  ingressAcl: restart(
    flag.default(true),
    '`false` admits packets that authenticate without checking the flow that their SPI was offered for: any peer can then send from any address to any address.',
  ),
  bypass: reload(
    z
      .array(
        section({
          prefix,
          protocol: protocol.optional(),
          port: count(1, 65_535).optional(),
        }),
        { error: 'a list of { prefix, protocol, port }' },
      )
      .max(64, { error: 'at most 64 entries' })
      .default([]),
    'At most 64 entries `{ prefix, protocol, port }` of traffic that passes **unencrypted and unauthenticated**, in both directions. `prefix` and `port` are those of the remote host, `protocol` is `tcp`, `udp`, `icmp`, `icmpv6` or a number (absent: any), `port` needs a protocol with ports (absent: any). The first matching entry applies.',
  ),
  bus: section({
    listen: restart(loopback, "Listen address of this node's bus server; loopback only.", '`127.0.0.1:4270`'),
  }).default({ listen: '127.0.0.1:4270' }),
  stateDir: restart(
    text((value) => value.startsWith('/'), 'an absolute path').optional(),
    'Folder for the files that the node writes: the audit stream, audit events on their way to it, samples. It must belong to one node only.',
    '`/var/lib/psp/<node>`',
  ),
  keys: section({
    rotateEvery: reload(
      durationOr('1s', '30d', 'off').prefault('24h'),
      'Time between rotations of the master key, on average: each one differs by up to a tenth. `off`: there are none on schedule. The PSP specification asks for a rotation every 24 hours ([rotation](operations.md#rotation)).',
    ),
  }).prefault({}),
  engine: section({
    kind: restart(
      text(
        (value) => /^[a-z][a-z0-9_]{0,31}$/.test(value),
        'the name of an engine, such as software',
      ).default('software'),
      'The engine that moves packets; one of those that are built in. `software` runs on any Linux machine. If the node file asks for more than the engine can do, the start is refused ([`ENGINE_UNSUPPORTED`](errors.md#engine_unsupported)).',
    ),
    polling: restart(
      z.enum(['adaptive', 'busy'], { error: 'adaptive or busy' }).default('adaptive'),
      '`adaptive` sleeps in poll() when idle; `busy` never sleeps.',
    ),
    lcores: restart(
      count(1, 64).default(1),
      'Number of threads that move packets, each with its own queue pair on both ports. At most the number of cores of the machine, and on a DPDK port the number of its queues.',
    ),
    crypto: restart(
      z.enum(['auto', 'ipsec-mb', 'libcrypto'], { error: 'auto, ipsec-mb or libcrypto' }).default('auto'),
      '`auto` uses libipsec-mb if it runs on the machine, otherwise libcrypto. The environment variable `PSP_CRYPTO` overrides it.',
    ),
    maxFlows: restart(
      count(1024, 16_777_216).default(262_144),
      'Capacity of the flow table, and likewise of the table of receive SPIs.',
    ),
    holdMs: restart(
      milliseconds(100, 60_000).default(3000),
      'How long a packet without a key is held. The time limit of an exchange never exceeds this or `keyExchange.exchangeMs`, whichever is longer.',
    ),
    retireMs: restart(
      milliseconds(1, 600_000).default(1000),
      'How long an older receive SPI stays valid after the first packet under a newer one.',
    ),
    drainMs: reload(
      milliseconds(1, 600_000).default(500),
      'How long after the last answer to a rotation the next one may follow.',
    ),
    rotateGraceMs: reload(
      milliseconds(1000, 86_400_000).default(3_600_000),
      'After this time the next rotation is carried out even if peers have not answered.',
    ),
  }).prefault({}),
  sampling: section({
    egressLog2: reload(
      count(0, highestSamplingLog2).optional(),
      'One of 2^N packets that leave is sampled, N from 0 to 16. `psp sampling` changes it while running.',
      'off',
    ),
    points: restart(
      z
        .array(z.enum(['sealed', 'plain'], { error: 'sealed or plain' }), {
          error: 'a list of sealed and plain',
        })
        .min(1, { error: 'at least one point' })
        .refine((list) => new Set(list).size === list.length, { error: 'each point once' })
        .default(['sealed']),
      'When a packet that leaves is copied: `sealed` after it is encrypted, `plain` before, or both.',
    ),
    snapBytes: restart(
      count(snapBytes.least, snapBytes.most).default(128),
      "Number of octets that are copied of each sampled packet, 64 to 1024. Copies are tenants' data.",
    ),
    files: restart(
      count(2, 1000).default(8),
      'Number of files in the ring of samples, for all samplers of the node together; use at least two per sampler.',
    ),
    fileBytes: restart(
      count(65_536, 1_073_741_824).default(16_777_216),
      'Size of each of these files in octets.',
    ),
  }).prefault({}),
  /** Copies of packets that fail, for the sampler. */
  capture: section({
    ingress: restart(
      flag.default(false),
      'Packets from the wire that cannot be opened are copied to the sampler.',
    ),
    egress: restart(
      flag.default(false),
      'Packets that cannot be sealed are copied to the sampler: plaintext of hosts.',
    ),
    perSecond: restart(
      count(1, 10_000).default(100),
      'Maximum number of captured packets per second, for both directions and all lcores together, 1 to 10000.',
    ),
  }).prefault({}),
  metrics: section({
    listen: restart(
      endpoint.default('127.0.0.1:9464'),
      '`host:port` of `/metrics` and the health pages. The environment variable `PSP_METRICS_LISTEN` overrides it.',
    ),
  }).prefault({}),
  audit: section({
    listen: restart(
      loopback.optional(),
      'Listen address of the audit server, the nats-server with the audit stream; loopback only.',
      '1000 ports above `bus.listen`, or below it beyond port 65535: `127.0.0.1:5270`',
    ),
    spoolBytes: restart(
      count(65_536, 1_073_741_824).default(16_777_216),
      'Size limit in octets of the audit events that one service keeps on disk, from 64 KiB to 1 GiB.',
    ),
    streamBytes: restart(
      count(1_048_576, 1_099_511_627_776).default(268_435_456),
      'Size limit in octets of the stream PSP_AUDIT, from 1 MiB to 1 TiB; the oldest events are removed first.',
    ),
  }).prefault({}),
  log: section({
    level: reload(
      z
        .enum(['trace', 'debug', 'info', 'warn', 'error'], { error: 'trace, debug, info, warn or error' })
        .default('info'),
      '`trace`, `debug`, `info`, `warn` or `error`. The environment variable `PSP_LOG_LEVEL` overrides it.',
    ),
  }).prefault({}),
});

/** The node file as parsed by the schema alone. */
export type Schema = z.output<typeof schema>;
