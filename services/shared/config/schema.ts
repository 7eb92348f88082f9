// SPDX-License-Identifier: Apache-2.0
// The schema of the node file: every key with its default, its meaning and what applies a change (`restart`). The table of
// docs/config.md is generated from it. Rules that cross between keys are in rules.ts.
import { z } from 'zod';
import {
  address,
  count,
  countOr,
  device,
  endpoint,
  flag,
  interfaceAddress,
  loopback,
  milliseconds,
  name,
  prefix,
  prefixes,
  restart,
  section,
  text,
} from './values.js';

/** IP protocols that go by a name. */
export const protocols = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58 } as const;
const protocolExpected = 'tcp, udp, icmp, icmpv6 or a protocol number from 1 to 255';
const protocol = z
  .union([z.enum(['tcp', 'udp', 'icmp', 'icmpv6']), count(1, 255, protocolExpected)], {
    error: protocolExpected,
  })
  .transform((value) => (typeof value === 'string' ? protocols[value] : value));

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
      'Addresses, with prefix length, that hosts may use as their gateway; one or a list. We answer ARP and neighbour discovery for them.',
    ),
  }),
  /** The wire. */
  secured: section({
    port: restart(device, 'The wire: an interface, a PCI address or a DPDK device string.'),
    address: restart(
      interfaceAddress,
      'Our address on the wire with its connected prefix: source of every outer header, whose family it decides.',
    ),
    gateway: restart(
      address.optional(),
      'Next hop for peers outside the connected prefix: an address in that prefix, an IPv6 link-local address (`fe80::1`, also where `secured.address` is IPv4, as in RFC 8950), or with `secured.onlink` any other. Where `secured.address` is IPv6 it is IPv6.',
    ),
    onlink: restart(
      flag.default(false),
      'The address of `secured.gateway` is outside the connected prefix, and the gateway is on the link all the same, as `onlink` of `ip route` says. The gateway has to answer ARP or neighbour discovery there, and needs a route to `secured.address` by this link.',
    ),
    hopLimit: restart(
      count(1, 255).default(64),
      'TTL or hop limit of the outer header in tunnel mode, 1 to 255. The inner one is never changed.',
    ),
    dscp: restart(
      countOr(0, 63, 'copy').default('copy'),
      'DSCP of the outer header in tunnel mode: `copy` takes that of the inner header (RFC 2983), a number from 0 to 63 hides it.',
    ),
    udpChecksum: restart(
      flag.default(false),
      'Fill in the UDP checksum of what is sent; without it the field is zero, but for packets that leave in a [super-frame](operations.md#hosts). Both are taken on receipt.',
    ),
    sourcePorts: restart(
      z.union([z.enum(['hash', 'symmetricHash']), portList], { error: portsExpected }).default('hash'),
      'UDP source ports: `hash` of the inner flow, `symmetricHash` that is the same both ways, or a list of 16 to 4096 ports out of which the hash picks.',
    ),
  }),
  /** The out-of-band side. */
  keyExchange: section({
    listen: restart(endpoint, '`host:port` on the out-of-band network where peers reach us.'),
    exchangeMs: restart(
      milliseconds(100, 60_000).default(1000),
      'How long one exchange may take, from the want to the install, where none was measured to take longer ([overload](design.md#overload)).',
    ),
    callMs: restart(
      milliseconds(50, 60_000).default(700),
      'How long one call to a peer may take; of a longer exchange the same part.',
    ),
  }),
  vips: restart(prefixes(), 'Prefixes behind this gateway.'),
  peers: restart(
    z
      .record(
        name,
        section({
          endpoint: restart(endpoint, "`host:port` where the peer's key exchange listens."),
          vips: restart(prefixes(), 'Prefixes behind the peer: all that it may speak for.'),
          underlay: restart(
            prefixes().optional(),
            "Prefixes that the peer's secured address may lie in.",
            'the prefix of `secured.address`',
          ),
          mode: restart(
            z.enum(['tunnel', 'transport'], { error: 'tunnel or transport' }).default('tunnel'),
            '`tunnel` wraps whole packets; `transport` keeps their own IP header, which then has to be routable on the wire. Both sides must say the same, else exchanges end with [`MODE_MISMATCH`](errors.md#mode_mismatch).',
          ),
          cookie: restart(
            flag.default(false),
            'What the peer sends to us carries a virtualization cookie, drawn at random for each offer and checked on receipt.',
          ),
          cryptOffset: restart(
            count(0, 63).default(0),
            'What we send to the peer stays readable (it is authenticated) so far behind the IV, in units of 4 octets, 0 to 63; a cookie takes the first two units. Not beside `authOnly`.',
          ),
          authOnly: restart(
            flag.default(false),
            'Traffic with the peer is authenticated by GMAC and **not encrypted**: in place of versions 0 and 1 of `versions`, 2 and 3 are spoken. Works only where both sides say so, else exchanges end with [`VERSION_NOT_SPOKEN`](errors.md#version_not_spoken).',
          ),
          mtu: restart(
            count(576, 65_535).optional(),
            'MTU of the path to the peer, from 576, or 1280 where `secured.address` is IPv6, to 65535.',
            'the MTU of the secured port',
          ),
          sampling: restart(
            countOr(0, 16, 'off').optional(),
            'One of 2^N packets that leave towards the peer is sampled, N from 0 to 16; `off`: none.',
            '`sampling.egressLog2`',
          ),
        }),
        { error: 'a map from peer names to peers' },
      )
      .default({}),
    "Other gateways by name; the name is the identity in the peer's certificate.",
  ),
  tunnels: restart(
    z
      .array(section({ local: address, remote: address }), { error: 'a list of { local, remote }' })
      .default([]),
    'List of `{ local, remote }`: tunnels agreed at start-up. All others are agreed on demand.',
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
    '`false` lets in whatever is authentic, whether or not its SPI was made for its addresses: any peer may then send from any address to any.',
  ),
  bypass: restart(
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
    'At most 64 entries `{ prefix, protocol, port }` of traffic that passes **unencrypted and unauthenticated**, both ways: `prefix` and `port` are those of the far end, `protocol` is `tcp`, `udp`, `icmp`, `icmpv6` or a number (absent: any), `port` needs a protocol that has ports (absent: any). The first entry that fits counts.',
  ),
  bus: section({
    listen: restart(loopback, "Where this node's bus server listens; loopback only.", '`127.0.0.1:4270`'),
  }).default({ listen: '127.0.0.1:4270' }),
  stateDir: restart(
    text((value) => value.startsWith('/'), 'an absolute path').optional(),
    'Folder for what the node writes: the audit stream, audit events on their way to it, samples. Of one node alone.',
    '`/var/lib/psp/<node>`',
  ),
  engine: section({
    polling: restart(
      z.enum(['adaptive', 'busy'], { error: 'adaptive or busy' }).default('adaptive'),
      '`adaptive` sleeps in poll() when idle; `busy` never sleeps.',
    ),
    lcores: restart(
      count(1, 64).default(1),
      'Threads that move packets, each on a queue of its own at either port; at most as many as the machine has cores and either port has queues, which an interface of the kernel has as many of as are asked for.',
    ),
    crypto: restart(
      z.enum(['auto', 'ipsec-mb', 'libcrypto'], { error: 'auto, ipsec-mb or libcrypto' }).default('auto'),
      "`auto` takes libipsec-mb where it runs and libcrypto elsewhere. The environment's `PSP_CRYPTO` overrides it.",
    ),
    maxFlows: restart(
      count(1024, 16_777_216).default(262_144),
      'Egress flows, and likewise receive SPIs, that the tables have room for.',
    ),
    holdMs: restart(
      milliseconds(100, 60_000).default(3000),
      'How long a packet without a key is held. No exchange is given more time than this or `keyExchange.exchangeMs`, whichever is longer.',
    ),
    retireMs: restart(
      milliseconds(1, 600_000).default(1000),
      'How long an older receive SPI outlives the first packet under a newer one.',
    ),
    drainMs: restart(
      milliseconds(1, 600_000).default(500),
      'How long a rotation waits after the last answer before the next may follow.',
    ),
    rotateGraceMs: restart(
      milliseconds(1000, 86_400_000).default(3_600_000),
      'After this a rotation goes ahead though peers have not answered.',
    ),
  }).prefault({}),
  sampling: section({
    egressLog2: restart(
      count(0, 16).optional(),
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
      'Where the copy of a packet that leaves is taken: `sealed` after it is encrypted, `plain` before, or both.',
    ),
    snapBytes: restart(
      count(64, 1024).default(128),
      "Octets of each sampled packet that are copied, 64 to 1024. Copies are tenants' data.",
    ),
    files: restart(
      count(2, 1000).default(8),
      'Files of the ring of samples, of all samplers of the node together; at least two for each sampler.',
    ),
    fileBytes: restart(count(65_536, 1_073_741_824).default(16_777_216), 'Size of one of them, in octets.'),
  }).prefault({}),
  /** Copies of packets that fail, for the sampler. */
  capture: section({
    ingress: restart(
      flag.default(false),
      'Copies of packets from the wire that do not open go to the sampler.',
    ),
    egress: restart(
      flag.default(false),
      'Copies of packets that cannot be sealed go to the sampler: plaintext of hosts.',
    ),
    perSecond: restart(
      count(1, 10_000).default(100),
      'So many captured packets a second, of both directions and all lcores together, 1 to 10000.',
    ),
  }).prefault({}),
  metrics: section({
    listen: restart(
      endpoint.default('127.0.0.1:9464'),
      "`host:port` of `/metrics` and the health pages. The environment's `PSP_METRICS_LISTEN` overrides it.",
    ),
  }).prefault({}),
  audit: section({
    listen: restart(
      loopback.optional(),
      'Where the audit server, the nats-server with the audit stream, listens; loopback only.',
      '1000 ports above `bus.listen`, or below it beyond port 65535: `127.0.0.1:5270`',
    ),
    spoolBytes: restart(
      count(65_536, 1_073_741_824).default(16_777_216),
      'What one service keeps on disk of its own audit events, in octets, from 64 KiB to 1 GiB.',
    ),
    streamBytes: restart(
      count(1_048_576, 1_099_511_627_776).default(268_435_456),
      'What the stream PSP_AUDIT keeps, in octets, from 1 MiB to 1 TiB; the oldest go first.',
    ),
  }).prefault({}),
  log: section({
    level: restart(
      z
        .enum(['trace', 'debug', 'info', 'warn', 'error'], { error: 'trace, debug, info, warn or error' })
        .default('info'),
      "`trace`, `debug`, `info`, `warn` or `error`. The environment's `PSP_LOG_LEVEL` overrides it.",
    ),
  }).prefault({}),
});

/** The file as the schema alone gives it. */
export type Schema = z.output<typeof schema>;
