// SPDX-License-Identifier: Apache-2.0
// The fence: what keeps plaintext off the wire while no engine stands in front of the kernel. Behind a kernel
// interface the kernel sees each frame too, so nftables drops on both ports what goes up to the stack, and on
// the secured port all that goes out but what fence_rules.ts names. A packet socket taps frames before that and
// is not affected. The fence is set before the link comes up and outlives the process; only `psp fence remove`
// or the interface's end takes it away. One table of the netdev family for each node and interface, replaced in
// one transaction.
import { execFile } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import type { NodeConfig } from '../../shared/config/config.js';
import { interfacesOf } from '../../shared/config/port_name.js';
import { PspError } from '../../shared/errors.js';
import { type Passage, passageOf, renderTable } from './fence_rules.js';

/** What the operator should know of an interface after it was fenced. */
export interface Fenced {
  name: string;
  /** The link was up and no fence stood: until now the kernel may have sent plaintext. */
  wasOpen: boolean;
  /** IPv6 addresses may still configure themselves: these settings could not be written. */
  unwritable: string[];
}

interface Side {
  key: string;
  name: string;
  /** What may leave by the secured port; absent on the unsecured one. */
  passage?: Passage;
}

/** A node's name has no "_", so that no other node's tables begin like these. */
const tablesOf = (node: string): string => `psp_${node}_`;
/** One word for nft: characters that it does not take stand as their code between two "_". */
const tableOf = (node: string, name: string): string =>
  tablesOf(node) + name.replace(/[^A-Za-z0-9.-]/g, (sign) => `_${sign.charCodeAt(0).toString(16)}_`);
const interfaceOfTable = (node: string, table: string): string =>
  table
    .slice(tablesOf(node).length)
    .replace(/_([0-9a-f]+)_/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)));

/** Which interface of this name a table was made for: a table outlives its interface, without effect. */
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

/** What the fence needs of a node file. */
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

/** Takes from the kernel what makes it speak IPv6 on a link by itself. @returns what could not be written. */
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
 * Takes a node's fence away; the kernel then speaks plaintext on its interfaces again.
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
