// SPDX-License-Identifier: Apache-2.0
// The fence keeps plaintext off the wire, also while no engine runs. The kernel receives each frame of a kernel interface,
// too, so nftables drops on both ports every frame to the kernel's stack, and on the secured port every outgoing packet
// except those that fence_rules.ts allows. A packet socket receives frames before these rules and is not affected. The
// fence is set before the link comes up and remains after the process ends; only `psp fence remove` or the removal of
// the interface removes it. Each node and interface has one table of the netdev family, replaced in one transaction.
import { execFile } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import type { NodeConfig } from '../../shared/config/config.js';
import { interfacesOf } from '../../shared/config/port_name.js';
import { PspError } from '../../shared/errors.js';
import { joinedPassage, type Passage, passageOf, renderTable } from './fence_rules.js';

/** The result of fencing an interface. */
export interface Fenced {
  name: string;
  /** The link was up without a fence: the kernel may have sent plaintext until now. */
  wasOpen: boolean;
  /** Settings that could not be written, so that the kernel may still configure IPv6 addresses. */
  unwritable: string[];
}

interface Side {
  key: string;
  name: string;
  /** What may leave through the secured port; absent for the unsecured one. */
  passage?: Passage;
}

/** A node's name contains no "_", so that the tables of no other node have this prefix. */
const tablesOf = (node: string): string => `psp_${node}_`;
/** A valid name for nft: each invalid character becomes its code between two "_". */
const tableOf = (node: string, name: string): string =>
  tablesOf(node) + name.replace(/[^A-Za-z0-9.-]/g, (sign) => `_${sign.charCodeAt(0).toString(16)}_`);
const interfaceOfTable = (node: string, table: string): string =>
  table
    .slice(tablesOf(node).length)
    .replace(/_([0-9a-f]+)_/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)));

/** The index of the interface that a table was made for: a table remains after its interface, without effect. */
const commentOf = (index: number): string => `interface ${index}`;

/** The Debian packages of the programs that the fence runs. */
const packages: Record<string, string> = { nft: 'nftables', ip: 'iproute2' };

/**
 * Runs a program; rejects with an Error whose message is its first line on stderr, and with PspError FILE_UNREADABLE when
 * the program is not installed.
 */
function run(program: string, args: string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(program, args, { timeout: 10_000 }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else if (error.code === 'ENOENT') reject(missing(program, error));
      else reject(new Error(stderr.trim().split('\n')[0] || error.message, { cause: error }));
    });
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input);
  });
}

const missing = (program: string, cause: unknown): PspError => {
  const remedy = `install it (Debian: apt install ${packages[program]})`;
  return new PspError('FILE_UNREADABLE', { file: program, detail: 'it is not in PATH', remedy }, { cause });
};

function failure(name: string, cause: unknown): PspError {
  if (cause instanceof PspError) return cause;
  const detail = (cause as Error).message;
  return /operation not permitted|must be root/i.test(detail)
    ? new PspError('RIGHTS_MISSING', { what: `the fence on ${name}`, right: 'CAP_NET_ADMIN' }, { cause })
    : new PspError('FENCE_FAILED', { name, detail }, { cause });
}

const fenceStands = (node: string, name: string, index: number): Promise<boolean> =>
  run('nft', ['list', 'table', 'netdev', tableOf(node, name)]).then(
    (text) => text.includes(`comment "${commentOf(index)}"`) && text.includes('hook ingress'),
    () => false,
  );

/** The part of the node file that the fence needs. */
type FencedNode = Pick<NodeConfig, 'node' | 'unsecured' | 'secured' | 'vips' | 'peers' | 'bypass'>;

interface IpLink {
  ifindex: number;
  flags: string[];
}

async function linkOf({ name, key }: Side): Promise<IpLink> {
  try {
    const [link] = JSON.parse(await run('ip', ['-json', 'link', 'show', 'dev', name])) as IpLink[];
    if (link !== undefined) return link;
  } catch (cause) {
    if (cause instanceof PspError) throw cause;
    throw new PspError('INTERFACE_MISSING', { name, key }, { cause });
  }
  throw new PspError('INTERFACE_MISSING', { name, key });
}

/** Disables IPv6 autoconfiguration of the kernel on a link. @returns the settings that could not be written. */
function quietenIpv6(name: string): string[] {
  const folder = `/proc/sys/net/ipv6/conf/${name}`;
  if (!existsSync(folder)) return [];
  const write = (setting: string, value: string): boolean => {
    try {
      writeFileSync(`${folder}/${setting}`, value);
      return true;
    } catch {
      return false;
    }
  };
  if (write('disable_ipv6', '1')) return [];
  const settings = { accept_ra: '0', autoconf: '0', addr_gen_mode: '1' };
  return Object.entries(settings).flatMap(([setting, value]) => (write(setting, value) ? [] : [setting]));
}

async function fenceOne(node: string, side: Side): Promise<Fenced> {
  const { name } = side;
  const { ifindex, flags } = await linkOf(side);
  try {
    const stood = await fenceStands(node, name, ifindex);
    const table = { name: tableOf(node, name), interface: name, comment: commentOf(ifindex) };
    await run('nft', ['-f', '-'], renderTable(table, side.passage));
    const unwritable = quietenIpv6(name);
    await run('ip', ['link', 'set', 'dev', name, 'up']);
    return { name, wasOpen: flags.includes('UP') && !stood, unwritable };
  } catch (cause) {
    throw failure(name, cause);
  }
}

/**
 * Fences a node's kernel interfaces and brings their links up; does nothing for other ports. Running it again
 * changes nothing.
 * @throws PspError INTERFACE_MISSING, RIGHTS_MISSING or FENCE_FAILED; then the links that follow stay as they are.
 */
export async function setFence(node: FencedNode): Promise<Fenced[]> {
  const passage = passageOf(node);
  const outside = interfacesOf(node.secured.port);
  const inside = interfacesOf(node.unsecured.port).filter((name) => !outside.includes(name));
  const fenced: Fenced[] = [];
  for (const name of outside) fenced.push(await fenceOne(node.node, { key: 'secured.port', name, passage }));
  for (const name of inside) fenced.push(await fenceOne(node.node, { key: 'unsecured.port', name }));
  return fenced;
}

/**
 * Replaces what may leave through the secured port of a node that runs; does nothing for other ports than interfaces.
 * @param also a second configuration whose traffic may leave, too.
 * @throws PspError INTERFACE_MISSING, RIGHTS_MISSING or FENCE_FAILED.
 */
export async function replaceFence(node: FencedNode, also: FencedNode = node): Promise<void> {
  const passage = joinedPassage(passageOf(node), passageOf(also));
  for (const name of interfacesOf(node.secured.port)) {
    const { ifindex } = await linkOf({ key: 'secured.port', name });
    const table = { name: tableOf(node.node, name), interface: name, comment: commentOf(ifindex) };
    try {
      await run('nft', ['-f', '-'], renderTable(table, passage));
    } catch (cause) {
      throw failure(name, cause);
    }
  }
}

/** Whether two configurations need the same fence. */
export const isFencedAlike = (one: FencedNode, other: FencedNode): boolean =>
  JSON.stringify(passageOf(one)) === JSON.stringify(passageOf(other));

/**
 * Removes a node's fence; the kernel then sends plaintext on its interfaces again.
 * @returns the interfaces that were fenced, by name. @throws PspError RIGHTS_MISSING or FENCE_FAILED.
 */
export async function removeFence(node: string): Promise<string[]> {
  try {
    const listed = await run('nft', ['list', 'tables', 'netdev']);
    const tables = Array.from(
      listed.matchAll(/^table netdev (\S+)$/gm),
      ([, table]) => table as string,
    ).filter((table) => table.startsWith(tablesOf(node)));
    await run('nft', ['-f', '-'], tables.map((table) => `delete table netdev ${table}\n`).join(''));
    return tables.map((table) => interfaceOfTable(node, table)).sort();
  } catch (cause) {
    throw failure(node, cause);
  }
}
