// SPDX-License-Identifier: Apache-2.0
// The part of `psp config check` outside the node file: whether this machine has what the node needs, and what it
// would lose to the node. Both ports become the node's alone: the fence silences everything else on their interfaces,
// including SSH sessions, so an operator must know before the start. Nothing here changes anything.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { promisify } from 'node:util';
import { type Addon, loadAddon } from '../../native/addon/load.js';
import { faultsOf } from '../../services/dataplane/capabilities.js';
import { engineSettings } from '../../services/dataplane/config.js';
import {
  contains,
  familyOf,
  isAddress,
  parseAddress,
  parseEndpoint,
  parsePrefix,
} from '../../services/shared/address.js';
import { readBusSecret, readPassword } from '../../services/shared/bus/secret.js';
import type { Fault, NodeConfig, Warning } from '../../services/shared/config/config.js';
import { certificateOf } from '../../services/shared/config/node_certificate.js';
import { readNodeFile, readSecretFile } from '../../services/shared/config/node_file.js';
import { interfacesOf } from '../../services/shared/config/port_name.js';
import { busUsers } from '../../services/shared/contracts.js';
import { PspError } from '../../services/shared/errors.js';
import { unixMs } from '../../services/shared/process/clock.js';
import {
  cookieOctets,
  encapsulationOctets,
  ipHeaderOctets,
  leastMtu,
} from '../../services/shared/protocols.js';
import { takenAddresses } from './listen_addresses.js';

/** Faults of the machine, and warnings that the operator needs before the start. */
export interface MachineCheck {
  faults: Fault[];
  warnings: Warning[];
}

interface Link {
  ifname: string;
  flags: string[];
  mtu: number;
  master?: string;
  addr_info: { local?: string; prefixlen?: number; scope?: string }[];
}

interface Route {
  dst: string;
  dev: string;
}

/** Checks the files beside the node file, the programs and the interfaces that the node needs. */
export async function checkMachine(config: NodeConfig, addon = loadAddon()): Promise<MachineCheck> {
  const found: MachineCheck = {
    faults: [
      ...(await fileFaults(config)),
      ...engineFaults(config, addon),
      ...(await takenAddresses(config)),
    ],
    warnings: [],
  };
  const links = await ipJson<Link>('address', 'show');
  if (links === undefined) {
    found.faults.push({
      path: 'ip',
      expected: 'a program in PATH (Debian: apt install iproute2)',
      received: 'nothing',
    });
    return found;
  }
  await checkPorts(config, links, found);
  await checkOutOfBand(config, links, found);
  return found;
}

/** The engine of the node file must be built into the addon, and be able to do all that the file asks for. */
function engineFaults(config: NodeConfig, { Engine, engines, hasIpsecMb }: Addon): Fault[] {
  const { kind, lcores, crypto } = config.engine;
  if (!engines.includes(kind)) {
    const expected = `an engine that is built in: ${engines.join(', ')}`;
    return [{ path: 'engine.kind', expected, received: kind }];
  }
  const ignore = () => undefined;
  // The engine is never started: it opens nothing and uses neither epoch nor secret.
  const unused = { epoch: 1n, busSecret: new Uint8Array(32), onEvents: ignore, onSamples: ignore };
  const faults = faultsOf(config, new Engine({ ...engineSettings(config), ...unused }).capabilities());
  const cores = availableParallelism();
  if (lcores > cores && !faults.some(({ path }) => path === 'engine.lcores')) {
    const expected = `at most ${cores}, the cores of this machine`;
    faults.push({ path: 'engine.lcores', expected, received: `${lcores}` });
  }
  if (crypto === 'ipsec-mb' && !hasIpsecMb) {
    const expected = 'auto or libcrypto, as libipsec-mb is not built in or does not support this CPU';
    faults.push({ path: 'engine.crypto', expected, received: crypto });
  }
  return faults;
}

/** Files that `psp init` creates and that every start needs. */
async function fileFaults(config: NodeConfig): Promise<Fault[]> {
  const { files } = config;
  const ofTls = readFaults([
    () => readNodeFile(files.ca),
    () => readNodeFile(files.certificate),
    () => readSecretFile(files.privateKey),
  ]);
  const ofOthers = readFaults([
    () => readBusSecret(files.busSecret).octets,
    ...busUsers.map((user) => () => readPassword(files.passwords, user)),
  ]);
  return [...(ofTls.length > 0 ? ofTls : await certificateFaults(config)), ...ofOthers];
}

/** The reason why peers would not accept the certificate. */
async function certificateFaults(config: NodeConfig): Promise<Fault[]> {
  try {
    const certificate = await certificateOf(config);
    const now = unixMs();
    return [...certificate.faults(now), ...certificate.listFaults(now)].map(
      ({ file, expected, detail, remedy }) => ({
        path: file,
        expected: `${expected} (${remedy})`,
        received: `one that ${detail}`,
      }),
    );
  } catch (error) {
    return [fileFaultOf(error)];
  }
}

function readFaults(reads: readonly (() => Buffer | string)[]): Fault[] {
  return reads.flatMap((read): Fault[] => {
    try {
      const content = read();
      if (typeof content !== 'string') content.fill(0);
      return [];
    } catch (error) {
      return [fileFaultOf(error)];
    }
  });
}

/** @throws the error if it is not about a file. */
function fileFaultOf(error: unknown): Fault {
  if (!(error instanceof PspError)) throw error;
  const { file, mode, most, detail, remedy } = error.data;
  return error.code === 'SECRET_EXPOSED'
    ? {
        path: `${file}`,
        expected: `mode ${most} or less (chmod ${most} ${file})`,
        received: `mode ${mode}`,
      }
    : { path: `${file}`, expected: `a valid file (${remedy})`, received: `${detail}` };
}

async function checkPorts(
  config: NodeConfig,
  links: readonly Link[],
  { faults, warnings }: MachineCheck,
): Promise<void> {
  const routes = (
    await Promise.all(['-4', '-6'].map((family) => ipJson<Route>(family, 'route', 'show')))
  ).flat();
  const ssh = await sshAddresses();
  for (const side of ['secured', 'unsecured'] as const) {
    const path = `${side}.port`;
    const { port } = config[side];
    const warn = (message: string) => warnings.push({ path, message });
    if (isPci(port) && !existsSync(`/sys/bus/pci/devices/${port.split(',', 1)[0]}`)) {
      faults.push({ path, expected: 'a PCI device of this machine', received: port });
    }
    for (const name of interfacesOf(port)) {
      const link = links.find(({ ifname }) => ifname === name);
      if (link === undefined) {
        faults.push({ path, expected: 'an interface of this machine', received: name });
        continue;
      }
      const addresses = link.addr_info.filter(({ scope }) => scope !== 'link').map(({ local = '' }) => local);
      if (addresses.length > 0)
        warn(
          `${name} has ${addresses.join(' and ')}: no process is reachable there once the node runs; remove it or use another interface`,
        );
      if (routes.some((route) => route?.dst === 'default' && route.dev === name))
        warn(`the default route uses ${name}: this machine loses it once the node runs`);
      if (addresses.some((address) => ssh.includes(address)))
        warn(`an SSH session uses ${name}: it ends once the node runs, and no new one can be opened`);
      if (link.master !== undefined)
        warn(`${name} belongs to ${link.master}, which loses its traffic once the node runs`);
      if (link.flags.includes('NO-CARRIER')) warn(`${name} has no carrier: check its cable or its other end`);
    }
  }
  checkMtu(config, links, { faults, warnings });
}

/**
 * The wire must carry the minimum MTU of its IP version, and should carry the largest packets of hosts once they are
 * sealed.
 */
function checkMtu(config: NodeConfig, links: readonly Link[], { faults, warnings }: MachineCheck): void {
  const mtuOf = (port: string) => links.find(({ ifname }) => ifname === interfacesOf(port)[0])?.mtu;
  const [wire, hosts] = [mtuOf(config.secured.port), mtuOf(config.unsecured.port)];
  if (wire === undefined) return;
  const family = familyOf(parsePrefix(config.secured.address).address);
  if (wire < leastMtu[family]) {
    faults.push({
      path: 'secured.port',
      expected: `an MTU of at least ${leastMtu[family]}`,
      received: `${wire}`,
    });
    return;
  }
  const added = Object.values(config.peers).map(
    ({ mode, cookie }) =>
      encapsulationOctets + (mode === 'tunnel' ? ipHeaderOctets[family] : 0) + (cookie ? cookieOctets : 0),
  );
  const needed = (hosts ?? 0) + Math.max(...added, 0);
  if (hosts === undefined || needed <= wire) return;
  const message = `its MTU is ${wire}, and packets of hosts need ${needed} once they are sealed: raise it, or lower that of the hosts`;
  warnings.push({ path: 'secured.port', message });
}

/** Keys must be exchanged over another network than those that the node takes for itself. */
async function checkOutOfBand(
  config: NodeConfig,
  links: readonly Link[],
  { faults, warnings }: MachineCheck,
): Promise<void> {
  const ports = [config.secured.port, config.unsecured.port].flatMap(interfacesOf);
  const { host } = parseEndpoint(config.keyExchange.listen);
  if (isAddress(host) && !/^[0:.]+$/.test(host)) {
    const own = parseAddress(host);
    const holder = links.find(({ addr_info }) =>
      addr_info.some(
        ({ local }) =>
          local !== undefined && contains({ address: own, length: own.length * 8 }, parseAddress(local)),
      ),
    );
    const path = 'keyExchange.listen';
    if (holder === undefined) faults.push({ path, expected: 'an address of this machine', received: host });
    else if (ports.includes(holder.ifname)) {
      const expected = 'an address of an interface other than the two ports';
      faults.push({ path, expected, received: `${host}, which ${holder.ifname} has` });
    }
  }
  for (const [name, { endpoint }] of Object.entries(config.peers)) {
    const { host } = parseEndpoint(endpoint);
    const [route] = (isAddress(host) ? await ipJson<Route>('route', 'get', host) : undefined) ?? [];
    if (route === undefined || !ports.includes(route.dev)) continue;
    const message = `is reached by ${route.dev}, which passes nothing but PSP once the node runs: exchange keys over another network`;
    warnings.push({ path: `peers.${name}.endpoint`, message });
  }
}

const isPci = (port: string): boolean => /^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7](?:,|$)/i.test(port);

const run = promisify(execFile);

/** `ip -json ARGS...`; undefined if it cannot be run or fails. */
async function ipJson<T>(...args: string[]): Promise<T[] | undefined> {
  try {
    const { stdout } = await run('ip', ['-json', ...args], { timeout: 10_000, maxBuffer: 64 << 20 });
    return JSON.parse(stdout === '' ? '[]' : stdout) as T[];
  } catch {
    return undefined;
  }
}

/** Local addresses of established SSH sessions. */
async function sshAddresses(): Promise<string[]> {
  const own = process.env.SSH_CONNECTION?.split(' ')[2];
  const listed = await run('ss', ['-Htn', 'state', 'established', '( sport = :22 )'], {
    timeout: 10_000,
  }).then(
    ({ stdout }) => stdout,
    () => '',
  );
  const locals = [...listed.matchAll(/^\s*\d+\s+\d+\s+\[?([0-9a-f.:]+?)(?:%\S+)?\]?:22\s/gm)].map(
    ([, local]) => local ?? '',
  );
  return [...locals, ...(own === undefined ? [] : [own])].map((local) =>
    local.replace(/^::ffff:(?=\d+\.)/, ''),
  );
}
