// SPDX-License-Identifier: Apache-2.0
// The part of `psp config check` about listen addresses: whether another process listens on one already. `ss` lists the sockets;
// nothing is opened. While a node holds stateDir its own processes listen there, so nothing is reported.
import { execFile } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { isAddress, parseAddress, parseEndpoint } from '../../services/shared/address.js';
import type { Fault, NodeConfig } from '../../services/shared/config/config.js';

/** The listen addresses of a node that other processes have. */
export async function takenAddresses(config: NodeConfig): Promise<Fault[]> {
  if (isStateDirHeld(config.stateDir)) return [];
  const taken = await listeners();
  return Object.entries(listenAddresses(config))
    .filter(([, address]) => taken.some((other) => isSameSocket(parseEndpoint(address), other)))
    .map(([path, received]) => ({
      path,
      expected: 'an address on which no other process listens (`ss -ltnp` lists them)',
      received,
    }));
}

/** Whether a running node holds the folder. Only reads, so that it disturbs neither that node nor one that starts. */
function isStateDirHeld(stateDir: string): boolean {
  try {
    const { ino } = statSync(join(stateDir, 'lock'));
    return new RegExp(` FLOCK .*:${ino} `).test(readFileSync('/proc/locks', 'latin1'));
  } catch {
    return false;
  }
}

/** By the key of the node file. */
function listenAddresses({ keyExchange, bus, audit, metrics, peers }: NodeConfig): Record<string, string> {
  const isInsecure = Object.values(peers).some(({ insecureReferenceInterop }) => insecureReferenceInterop);
  const { insecureReferenceListen: insecure } = keyExchange;
  return {
    'keyExchange.listen': keyExchange.listen,
    ...(isInsecure && insecure !== undefined && { 'keyExchange.insecureReferenceListen': insecure }),
    'bus.listen': bus.listen,
    'audit.listen': audit.listen,
    'metrics.listen': metrics.listen,
  };
}

interface Socket {
  host: string;
  port: number;
}

const run = promisify(execFile);

/** TCP sockets of this network namespace that listen; none if `ss` cannot be run. */
async function listeners(): Promise<Socket[]> {
  const { stdout } = await run('ss', ['-Hltn'], { timeout: 10_000, maxBuffer: 16 << 20 }).catch(() => ({
    stdout: '',
  }));
  return [...stdout.matchAll(/^LISTEN\s+\d+\s+\d+\s+\[?([0-9a-f.:*]+?)(?:%\S+?)?\]?:(\d+)\s/gm)].map(
    ([, host = '', port]) => ({ host, port: Number(port) }),
  );
}

const isWildcard = (host: string): boolean => /^[0:.]+$/.test(host);

function isSameSocket(own: Socket, other: Socket): boolean {
  if (own.port !== other.port) return false;
  if (!isAddress(own.host)) return false;
  // Of IPv6 and IPv4 at once.
  if (other.host === '*') return true;
  const [one, two] = [parseAddress(own.host), parseAddress(other.host)];
  if (one.length !== two.length) return own.host === '::';
  return isWildcard(own.host) || isWildcard(other.host) || Buffer.compare(one, two) === 0;
}
