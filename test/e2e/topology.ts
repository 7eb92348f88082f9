// SPDX-License-Identifier: Apache-2.0
// Two gateways with a host behind each, a wire between them and an out-of-band link, all in network namespaces:
//
//   host1 ---- gwA ==== wire ==== gwB ---- host2        ==== MTU 1600, nothing but PSP, ARP and ND
//                |                 |                    ---- MTU 1500, plaintext
//                +------ oob ------+
//
// The wire is a separate namespace with a bridge, where a capture sees the same frames as an observer on the wire. The
// kernel segments the gateways' GSO packets before it, as a network card would, unless the test turns that off. All
// offloads of the hosts stay enabled.
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Capture, type CaptureOptions } from './capture.js';
import { type Edit, Gateway, type GatewayOptions, initNodes } from './gateway.js';
import { Namespace } from './namespace.js';

export interface TopologyOptions {
  /** Family of the outer header. */
  outer?: 4 | 6;
  wireMtu?: number;
  /** The wire carries GSO packets unsegmented, as between two gateways on one veth pair. */
  gsoPackets?: boolean;
  /** Changes node files before they are created. */
  edit?: Edit;
  log?: GatewayOptions['log'];
  /** NAME=VALUE for `psp up` of a node and its services. @param folder that of the topology. */
  environment?: (node: 'a' | 'b', folder: string) => readonly string[];
  addon?: GatewayOptions['addon'];
}

export interface Host {
  namespace: Namespace;
  v4: string;
  v6: string;
}

interface Parts {
  host1: Host;
  host2: Host;
  wire: Namespace;
  a: Gateway;
  b: Gateway;
}

export const hostInterface = 'eth0';

export class Topology {
  readonly folder: string;
  readonly #namespaces: Namespace[] = [];
  readonly #captures: Capture[] = [];
  #parts: Parts | undefined;
  #closing: Promise<void> | undefined;

  private constructor(id: string) {
    this.folder = mkdtempSync(join(tmpdir(), `psp-e2e-${id}-`));
    // Services drop their privileges and must still be able to open their files.
    chmodSync(this.folder, 0o755);
  }

  /** Creates links and files; the gateways are not started yet. */
  static async create(options: TopologyOptions = {}): Promise<Topology> {
    const id = randomBytes(3).toString('hex');
    const topology = new Topology(id);
    try {
      topology.#parts = topology.#build(id, options);
      return topology;
    } catch (error) {
      await topology.close();
      throw error;
    }
  }

  #build(id: string, options: TopologyOptions): Parts {
    const { outer = 4, wireMtu = 1600, gsoPackets = false, edit = (_, yaml) => yaml } = options;
    const { log = 'info', environment = () => [], addon } = options;
    const namespace = (role: string): Namespace => {
      const made = new Namespace(`psp-${id}-${role}`);
      this.#namespaces.push(made);
      return made;
    };
    const [host1, gwA, wire, gwB, host2] = [
      namespace('host1'),
      namespace('gwA'),
      namespace('wire'),
      namespace('gwB'),
      namespace('host2'),
    ];
    link(host1, hostInterface, gwA, 'veth-host', 1500);
    link(host2, hostInterface, gwB, 'veth-host', 1500);
    link(wire, 'to-a', gwA, 'veth-wire', wireMtu);
    link(wire, 'to-b', gwB, 'veth-wire', wireMtu);
    if (!gsoPackets) {
      for (const gateway of [gwA, gwB]) {
        gateway.run('ethtool', '-K', 'veth-wire', 'tx-udp-segmentation', 'off', 'tx', 'off');
        gateway.run('ethtool', '-K', 'veth-host', 'tx-udp-segmentation', 'off');
      }
    }
    link(gwA, 'oob', gwB, 'oob', 1500);
    bridge(wire, wireMtu);
    up(gwA, 'oob', '198.51.100.1/24');
    up(gwB, 'oob', '198.51.100.2/24');
    initNodes(this.folder, outer, edit);
    const gateway = (node: 'a' | 'b', at: Namespace) =>
      new Gateway({
        node,
        namespace: at,
        folder: this.folder,
        log,
        environment: environment(node, this.folder),
        addon,
      });
    return {
      host1: host(host1, 1),
      host2: host(host2, 2),
      wire,
      a: gateway('a', gwA),
      b: gateway('b', gwB),
    };
  }

  get host1(): Host {
    return this.#built.host1;
  }
  get host2(): Host {
    return this.#built.host2;
  }
  get a(): Gateway {
    return this.#built.a;
  }
  get b(): Gateway {
    return this.#built.b;
  }
  /** The namespace of an observer of the wire. */
  get wire(): Namespace {
    return this.#built.wire;
  }
  get #built(): Parts {
    if (this.#parts === undefined) throw new Error('the topology is not built');
    return this.#parts;
  }

  /** Starts both gateways at once and waits until they are ready. */
  async start(): Promise<this> {
    await Promise.all([this.a.start(), this.b.start()]);
    return this;
  }

  /** Starts a capture, by default on the wire next to gateway a. */
  async capture(name: string, options: CaptureOptions & { at?: [Namespace, string] } = {}): Promise<Capture> {
    const [namespace, port] = options.at ?? [this.wire, 'to-a'];
    const capture = new Capture(namespace, port, join(this.folder, `${name}.pcap`), options);
    this.#captures.push(capture);
    await capture.start();
    return capture;
  }

  /** Gives both hosts `count` more IPv4 addresses: 10.N.0.100 and up. */
  addAddresses(count: number): void {
    for (const [host, n] of [
      [this.host1, 1],
      [this.host2, 2],
    ] as const) {
      for (let i = 0; i < count; i++) {
        host.namespace.ip('address', 'add', `10.${n}.0.${100 + i}/32`, 'dev', hostInterface);
      }
    }
  }

  /** The last log lines of each gateway, to show after a failure. */
  logs(lines = 15): string {
    const tail = (gateway: Gateway) => gateway.log().trimEnd().split('\n').slice(-lines).join('\n');
    return `gateway a:\n${tail(this.a)}\ngateway b:\n${tail(this.b)}`;
  }

  /** Ends processes, removes namespaces and files. Safe to call twice, and from a signal handler. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const parts = this.#parts;
    await Promise.allSettled([parts?.a.stop(), parts?.b.stop(), ...this.#captures.map((c) => c.stop())]);
    const faults: unknown[] = [];
    for (const namespace of this.#namespaces) {
      await namespace.delete().catch((error: unknown) => faults.push(error));
    }
    rmSync(this.folder, { recursive: true, force: true });
    if (faults.length > 0) throw new AggregateError(faults, 'not everything could be taken away');
  }
}

/** A veth pair between two namespaces, named in each, down. */
function link(left: Namespace, leftName: string, right: Namespace, rightName: string, mtu: number): void {
  const peer = ['type', 'veth', 'peer', 'name', rightName, 'mtu', `${mtu}`, 'netns', right.name];
  left.ip('link', 'add', leftName, 'mtu', `${mtu}`, ...peer);
}

function up(namespace: Namespace, name: string, ...addresses: string[]): void {
  namespace.run(
    'sysctl',
    '-qw',
    `net.ipv6.conf.${name}.accept_dad=0`,
    `net.ipv6.conf.${name}.dad_transmits=0`,
  );
  for (const address of addresses) namespace.ip('address', 'add', address, 'dev', name);
  namespace.ip('link', 'set', name, 'up');
}

/** The wire: two ports, without an address, sending nothing on its own. */
function bridge(namespace: Namespace, mtu: number): void {
  namespace.run('sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1', 'net.ipv6.conf.default.disable_ipv6=1');
  namespace.ip(
    'link',
    'add',
    'wire',
    'mtu',
    `${mtu}`,
    'type',
    'bridge',
    'mcast_snooping',
    '0',
    'forward_delay',
    '0',
  );
  for (const port of ['to-a', 'to-b']) namespace.ip('link', 'set', port, 'master', 'wire', 'up');
  namespace.ip('link', 'set', 'wire', 'up');
}

/** Host N: 10.N.0.2 and fd00:N::2 behind the gateway's 10.N.0.1 and fd00:N::1. */
function host(namespace: Namespace, n: 1 | 2): Host {
  const v4 = `10.${n}.0.2`;
  const v6 = `fd00:${n}::2`;
  up(namespace, hostInterface, `${v4}/24`, `${v6}/64`);
  namespace.ip('route', 'add', 'default', 'via', `10.${n}.0.1`);
  namespace.ip('-6', 'route', 'add', 'default', 'via', `fd00:${n}::1`, 'dev', hostInterface);
  return { namespace, v4, v6 };
}
