// SPDX-License-Identifier: Apache-2.0
// The schema of the node file: every key, the default beside it, and `reload` or `restart`: what it takes for a change
// to apply. What crosses between keys is in config_rules.ts.
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
  /** Name of this gateway; the identity in its certificate. restart */
  node: name,
  /** The plaintext side. */
  unsecured: section({
    /** An interface, a PCI address or a DPDK device string. restart */
    port: device,
    /** Addresses that the hosts behind us may use as their gateway, with their connected prefixes. restart */
    gateway: z
      .preprocess(
        (value) => (typeof value === 'string' ? [value] : value),
        z.array(interfaceAddress, { error: 'address/length, or a list of them' }),
      )
      .default([]),
  }),
  /** The wire. */
  secured: section({
    /** An interface, a PCI address or a DPDK device string. restart */
    port: device,
    /** Our address on the wire with its connected prefix: the outer source. restart */
    address: interfaceAddress,
    /** Next hop for peers outside the connected prefix; none by default. restart */
    gateway: address.optional(),
    /** The gateway is reachable on the link though its address is outside the connected prefix. restart */
    onlink: flag.default(false),
    /** TTL or hop limit of the outer header in tunnel mode. restart */
    hopLimit: count(1, 255).default(64),
    /** DSCP of the outer header in tunnel mode: copy takes that of the inner one, a number hides it. restart */
    dscp: countOr(0, 63, 'copy').default('copy'),
    /** Fill in the UDP checksum of what is sent; without it the field is zero. restart */
    udpChecksum: flag.default(false),
    /** UDP source ports: by a hash of the inner flow, by one that is the same both ways, or out of a list. restart */
    sourcePorts: z
      .union([z.enum(['hash', 'symmetricHash']), portList], { error: portsExpected })
      .default('hash'),
  }),
  /** The out-of-band side. */
  keyExchange: section({
    /** Where peers reach us. restart */
    listen: endpoint,
    /** How long one exchange may take, from the want to the install, where none was measured to take longer. restart */
    exchangeMs: milliseconds(100, 60_000).default(1000),
    /** How long one call to a peer may take; of a longer exchange the same part. restart */
    callMs: milliseconds(50, 60_000).default(700),
  }),
  /** Prefixes behind this gateway. restart */
  vips: prefixes(),
  /** Other gateways by name; the name is the identity in the peer's certificate. restart */
  peers: z
    .record(
      name,
      section({
        /** Where its key exchange listens. restart */
        endpoint,
        /** Prefixes behind it: all that it may speak for. restart */
        vips: prefixes(),
        /** Prefixes that its secured address may lie in; the connected prefix of secured.address by default. restart */
        underlay: prefixes().optional(),
        /** How packets between us are wrapped; both sides must say the same. restart */
        mode: z.enum(['tunnel', 'transport'], { error: 'tunnel or transport' }).default('tunnel'),
        /** What the peer sends to us carries a random virtualization cookie, which is checked. restart */
        cookie: flag.default(false),
        /** What we send stays readable so far behind the IV, in units of 4 octets. restart */
        cryptOffset: count(0, 63).default(0),
        /** Authenticate and do not encrypt; works only where both sides say so. restart */
        authOnly: flag.default(false),
        /** MTU of the path towards it; that of the secured port by default. restart */
        mtu: count(576, 65_535).optional(),
        /** One of 2^N packets that leave towards it is sampled, in place of sampling.egressLog2. restart */
        sampling: countOr(0, 16, 'off').optional(),
      }),
      { error: 'a map from peer names to peers' },
    )
    .default({}),
  /** Tunnels agreed at start-up; all others on demand. restart */
  tunnels: z
    .array(section({ local: address, remote: address }), { error: 'a list of { local, remote }' })
    .default([]),
  /** Domain of the identities: spiffe://<trustDomain>/gateway/<node>. restart */
  trustDomain: text((value) => /^[a-z0-9._-]{1,255}$/.test(value), 'a name of a-z, 0-9, ., _ and -').default(
    'psp',
  ),
  /** PSP versions in order of preference: 0 AES-GCM-128, 1 AES-GCM-256. restart */
  versions: z
    .array(z.literal([0, 1], { error: '0 or 1' }), { error: 'a list of 0 and 1' })
    .min(1, { error: 'at least one version' })
    .refine((list) => new Set(list).size === list.length, { error: 'each version once' })
    .default([1, 0]),
  /** false: whatever is authentic is let in, whether or not its SPI was made for its addresses. restart */
  ingressAcl: flag.default(true),
  /** What passes in the clear, both ways: by prefix, protocol and port of the far end. restart */
  bypass: z
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
  bus: section({
    /** Where this node's bus server, a nats-server, listens. restart */
    listen: loopback,
  }).default({ listen: '127.0.0.1:4270' }),
  /** What must survive a restart: audit and samples. restart; by default /var/lib/psp/<node> */
  stateDir: text((value) => value.startsWith('/'), 'an absolute path').optional(),
  engine: section({
    /** adaptive: sleep in poll() when idle; busy: never sleep. restart */
    polling: z.enum(['adaptive', 'busy'], { error: 'adaptive or busy' }).default('adaptive'),
    /** Threads that move packets, each with a queue of its own at either port; at most one per core. restart */
    lcores: count(1, 64).default(1),
    /** auto takes libipsec-mb where it runs, libcrypto elsewhere. PSP_CRYPTO overrides. restart */
    crypto: z
      .enum(['auto', 'ipsec-mb', 'libcrypto'], { error: 'auto, ipsec-mb or libcrypto' })
      .default('auto'),
    /** Egress flows, and likewise receive SPIs, that the tables have room for. restart */
    maxFlows: count(1024, 16_777_216).default(262_144),
    /** How long a packet without a key is held. restart */
    holdMs: milliseconds(100, 60_000).default(3000),
    /** How long an older receive SPI outlives the first packet under a newer one. restart */
    retireMs: milliseconds(1, 600_000).default(1000),
    /** How long a rotation waits after the last answer before the next may follow. restart */
    drainMs: milliseconds(1, 600_000).default(500),
    /** After this a rotation goes ahead though peers have not answered. restart */
    rotateGraceMs: milliseconds(1000, 86_400_000).default(3_600_000),
  }).prefault({}),
  sampling: section({
    /** One of 2^N packets that leave is sampled; off by default. `psp sampling` changes it while running. restart */
    egressLog2: count(0, 16).optional(),
    /** Where the copy of a packet that leaves is taken: after it is sealed, before, or both. restart */
    points: z
      .array(z.enum(['sealed', 'plain'], { error: 'sealed or plain' }), {
        error: 'a list of sealed and plain',
      })
      .min(1, { error: 'at least one point' })
      .refine((list) => new Set(list).size === list.length, { error: 'each point once' })
      .default(['sealed']),
    /** Octets of each sampled packet that are copied. restart */
    snapBytes: count(64, 1024).default(128),
    /** Samples are kept in a ring of so many pcapng files. restart */
    files: count(2, 1000).default(8),
    /** Size of one of them, in octets. restart */
    fileBytes: count(65_536, 1_073_741_824).default(16_777_216),
  }).prefault({}),
  /** Copies of packets that fail, for the sampler. */
  capture: section({
    /** Of packets from the wire that do not open. restart */
    ingress: flag.default(false),
    /** Of packets that cannot be sealed: plaintext of hosts. restart */
    egress: flag.default(false),
    /** So many a second of both together. restart */
    perSecond: count(1, 10_000).default(100),
  }).prefault({}),
  metrics: section({
    /** Where /metrics, /livez, /readyz and /healthz are served. PSP_METRICS_LISTEN overrides. restart */
    listen: endpoint.default('127.0.0.1:9464'),
  }).prefault({}),
  audit: section({
    /** Where the nats-server with the audit stream listens; by default 1000 ports above bus.listen. restart */
    listen: loopback.optional(),
    /** What one service may keep on disk of its own events, in octets. restart */
    spoolBytes: count(65_536, 1_073_741_824).default(16_777_216),
    /** What the stream PSP_AUDIT may keep, in octets; the oldest go first. restart */
    streamBytes: count(1_048_576, 1_099_511_627_776).default(268_435_456),
  }).prefault({}),
  log: section({
    /** PSP_LOG_LEVEL overrides. restart */
    level: z
      .enum(['trace', 'debug', 'info', 'warn', 'error'], { error: 'trace, debug, info, warn or error' })
      .default('info'),
  }).prefault({}),
});

/** The file as the schema alone gives it. */
export type Schema = z.output<typeof schema>;
