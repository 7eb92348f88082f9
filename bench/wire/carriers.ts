// SPDX-License-Identifier: Apache-2.0
// The programs that carry packets between two hosts in the wire bench: our gateways; wireguard-go and nebula in their
// place, in the same namespaces on the same links, with the kernel forwarding between host and tunnel; and as limits
// the kernel alone, and one bare veth pair. Each is set up once and stays idle while the others are measured.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ended, type Namespace, run, until } from '../../test/e2e/namespace.js';
import { Topology } from '../../test/e2e/topology.js';
import { ping } from '../../test/e2e/traffic.js';
import type { Unpacked } from '../shared/programs.js';

/** The size in octets of an inner packet that none of them fragments: the hosts' MTU. */
const tunnelMtu = '1500';

export interface Carrier {
  name: string;
  /** Version and year, or a description. */
  label: string;
  from: Namespace;
  to: Namespace;
  address: string;
  /** The carrier's processes; none for the kernel. */
  processes: () => number[];
  close: () => Promise<void>;
}

/** Our two gateways. */
export async function ours(): Promise<Carrier> {
  const net = await Topology.create({ gsoPackets: true, log: 'error' });
  return carrying(net, 'psp', async () => {
    await net.start();
    const gateways = [net.a.namespace, net.b.namespace];
    return {
      label: 'this gateway, tunnel mode, AES-256-GCM',
      processes: () => gateways.flatMap((g) => g.processes()),
    };
  });
}

/** Kernels that forward in place of the gateways. */
export async function forwarding(): Promise<Carrier> {
  const net = await Topology.create({ gsoPackets: true });
  return carrying(net, 'forwarding', async () => {
    for (const [gateway, n] of gatewaysOf(net)) {
      route(gateway, n);
      gateway.ip('route', 'add', `10.${3 - n}.0.0/24`, 'via', `192.0.2.${3 - n}`);
    }
    return { label: 'the kernel on the same links, in the clear', processes: () => [] };
  });
}

/** One veth pair: the limit. */
export async function bare(): Promise<Carrier> {
  const net = await Topology.create({ gsoPackets: true });
  const carrier = await carrying(
    net,
    'bare veth',
    async () => {
      for (const [gateway, n] of gatewaysOf(net)) route(gateway, n);
      return { label: 'one veth pair between two namespaces', processes: () => [] };
    },
    '10.1.0.1',
  );
  return { ...carrier, to: net.a.namespace };
}

/** wireguard-go in place of the gateways. Its tunnel interface accepts and delivers GSO packets since 2023. */
export async function wireguard({ root, version }: Unpacked): Promise<Carrier> {
  const net = await Topology.create({ gsoPackets: true });
  return carrying(net, 'wireguard-go', async () => {
    const keys = [1, 2].map(() => run('wg', 'genkey').trim());
    for (const [gateway, n] of gatewaysOf(net)) {
      route(gateway, n);
      const file = join(net.folder, `wg${n}`);
      const peerKey = join(net.folder, `wg${n}.peer`);
      writeFileSync(file, `${keys[n - 1]}\n`, { mode: 0o600 });
      writeFileSync(peerKey, `${keys[2 - n]}\n`, { mode: 0o600 });
      const name = `wg${process.pid}n${n}`.slice(0, 15);
      gateway.run(join(root, 'usr/bin/wireguard-go'), name);
      const peer = run('sh', '-c', `wg pubkey < ${peerKey}`).trim();
      const endpoint = `192.0.2.${3 - n}:51820`;
      const terms = ['peer', peer, 'endpoint', endpoint, 'allowed-ips', `10.${3 - n}.0.0/24`];
      gateway.run('wg', 'set', name, 'listen-port', '51820', 'private-key', file, ...terms);
      gateway.ip('link', 'set', name, 'mtu', tunnelMtu, 'up');
      gateway.ip('route', 'add', `10.${3 - n}.0.0/24`, 'dev', name);
    }
    return {
      label: `${version} (${/\d{4}(?=\d{4})/.exec(version)?.[0]}), ChaCha20-Poly1305, segmentation offload`,
      processes: () => processesOf(net),
    };
  });
}

/** The years of nebula's releases, which its version does not contain. */
const nebulaYears: Record<string, number> = { '1.9.3': 2024 };

/** nebula in place of the gateways. It has no segmentation offload. */
export async function nebula({ root, version }: Unpacked): Promise<Carrier> {
  const net = await Topology.create({ gsoPackets: true });
  return carrying(net, 'nebula', async () => {
    const folder = join(net.folder, 'nebula');
    mkdirSync(folder);
    const cert = (...args: string[]) =>
      run('sh', '-c', `cd ${folder} && ${root}/usr/bin/nebula-cert ${args.join(' ')}`);
    cert('ca', '-name', 'bench');
    for (const [gateway, n] of gatewaysOf(net)) {
      route(gateway, n);
      cert('sign', '-name', `n${n}`, '-ip', `10.99.0.${n}/24`, '-subnets', `10.${n}.0.0/24`);
      const file = join(folder, `${n}.yaml`);
      writeFileSync(file, nebulaFile(folder, n));
      const child = gateway.spawn(
        join(root, 'usr/bin/nebula'),
        ['-config', file],
        ['ignore', 'ignore', 'ignore'],
      );
      child.on('error', () => undefined);
      const there = () => gateway.ip('-json', 'link', 'show').includes('"nebula1"');
      await until('nebula has its interface', () => there());
      if (child.exitCode !== null) await ended(child);
    }
    const year = nebulaYears[version.replace(/[+-].*/, '')];
    return {
      label: `${version}${year === undefined ? '' : ` (${year})`}, AES-256-GCM`,
      processes: () => processesOf(net),
    };
  });
}

const nebulaFile = (folder: string, n: number): string => `
pki: { ca: ${folder}/ca.crt, cert: ${folder}/n${n}.crt, key: ${folder}/n${n}.key }
static_host_map: { "10.99.0.${3 - n}": ["192.0.2.${3 - n}:4242"] }
lighthouse: { am_lighthouse: false }
listen: { host: 192.0.2.${n}, port: 4242 }
cipher: aes
tun:
  dev: nebula1
  mtu: ${tunnelMtu}
  unsafe_routes: [{ route: 10.${3 - n}.0.0/24, via: 10.99.0.${3 - n}, mtu: ${tunnelMtu} }]
firewall:
  outbound: [{ port: any, proto: any, host: any }]
  inbound: [{ port: any, proto: any, host: any }]
logging: { level: error }
`;

const gatewaysOf = (net: Topology): [Namespace, 1 | 2][] => [
  [net.a.namespace, 1],
  [net.b.namespace, 2],
];
const processesOf = (net: Topology): number[] => gatewaysOf(net).flatMap(([gateway]) => gateway.processes());

/** A router in place of a gateway: addresses on its links, and forwarding. */
function route(gateway: Namespace, n: 1 | 2): void {
  gateway.run('sysctl', '-qw', 'net.ipv4.ip_forward=1');
  gateway.ip('address', 'add', `10.${n}.0.1/24`, 'dev', 'veth-host');
  gateway.ip('address', 'add', `192.0.2.${n}/24`, 'dev', 'veth-wire');
  for (const name of ['veth-host', 'veth-wire']) gateway.ip('link', 'set', name, 'up');
}

async function carrying(
  net: Topology,
  name: string,
  setUp: () => Promise<Pick<Carrier, 'label' | 'processes'>>,
  address: string = net.host2.v4,
): Promise<Carrier> {
  try {
    const { label, processes } = await setUp();
    const from = net.host1.namespace;
    await until(`${name} carries`, async () => (await ping(from, address, { waitS: 1 })).received === 1);
    return { name, label, from, to: net.host2.namespace, address, processes, close: () => net.close() };
  } catch (error) {
    await net.close();
    throw error;
  }
}
