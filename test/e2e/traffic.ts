// SPDX-License-Identifier: Apache-2.0
// The traffic of hosts in a test: ping, a file over TCP, datagrams. Each runs as a process in the host's namespace;
// results are returned as values.
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { ended, type Namespace, until } from './namespace.js';

const agent = (name: string): string => fromPackageRoot(`dist/test/e2e/agents/${name}.js`);

export interface Ping {
  sent: number;
  received: number;
  /** The time of each reply, in ms, by sequence number from 1. */
  times: Map<number, number>;
}

/**
 * Pings `count` times every `intervalMs`; `marker`, at most 16 octets, fills the packets. It ends with the last
 * reply, or `waitS` after the last request: long enough for a slow machine, shorter if no reply is expected.
 */
export async function ping(
  from: Namespace,
  to: string,
  { count = 1, intervalMs = 200, marker = '', source = '', waitS = 10 } = {},
): Promise<Ping> {
  const pattern = marker === '' ? [] : ['-p', Buffer.from(marker, 'latin1').toString('hex')];
  const bound = source === '' ? [] : ['-I', source];
  const wait = ['-c', `${count}`, '-i', `${intervalMs / 1000}`, '-W', `${waitS}`];
  const { stdout, stderr } = await from.try('ping', ['-n', ...wait, ...pattern, ...bound, to]);
  const totals = /(\d+) packets transmitted, (\d+) received/.exec(stdout);
  if (totals === null) throw new Error(`ping ${to}: ${stderr.trim() || stdout.trim()}`);
  const times = new Map<number, number>();
  for (const [, sequence, time] of stdout.matchAll(/icmp_seq=(\d+) .*time=([\d.]+) ms/g)) {
    times.set(Number(sequence), Number(time));
  }
  return { sent: Number(totals[1]), received: Number(totals[2]), times };
}

export interface Transfer {
  bytes: number;
  ms: number;
  sent: string;
  received: string;
  /** SHA-256 and length are equal at both ends. */
  equal: boolean;
}

export interface TransferOptions {
  port?: number;
  bytes: number;
  marker?: string;
  /** Rate limit in octets per second until released. */
  rate?: number;
}

/** A running transfer. */
export interface RunningTransfer {
  /** Removes the limit set by `rate`. */
  release: () => void;
  done: Promise<Transfer>;
}

/** Transfers `bytes` octets from a host to an address of another over one TCP connection. */
export async function transfer(...args: Parameters<typeof startTransfer>): Promise<Transfer> {
  return (await startTransfer(...args)).done;
}

/** As `transfer`; resolves once it has begun. */
export async function startTransfer(
  from: Namespace,
  to: Namespace,
  address: string,
  { port = 5001, bytes, marker = 'psp-e2e-transfer', rate }: TransferOptions,
): Promise<RunningTransfer> {
  const receiver = to.spawn(process.execPath, [agent('tcp_receive'), address, `${port}`]);
  const received = linesOf(receiver);
  await until('the receiver listens', () => received.includes('listening'));
  const args = [agent('tcp_send'), address, `${port}`, `${bytes}`, marker, ...(rate ? [`${rate}`] : [])];
  const sender = from.spawn(process.execPath, args);
  const sent = linesOf(sender);
  const finish = async (): Promise<Transfer> => {
    await ended(sender);
    if (sender.exitCode !== 0) {
      receiver.kill('SIGKILL');
      throw new Error(`the sender to ${address} failed (${sent.join(' ')})`);
    }
    await ended(receiver);
    await until('both have spoken', () => sent.length > 0 && received.length > 1);
    const there = JSON.parse(sent[0] ?? '') as { bytes: number; sha256: string; ms: number };
    const here = JSON.parse(received[1] ?? '') as { bytes: number; sha256: string };
    const equal = there.sha256 === here.sha256 && there.bytes === here.bytes && here.bytes === bytes;
    return { bytes: here.bytes, ms: there.ms, sent: there.sha256, received: here.sha256, equal };
  };
  const done = finish();
  // An awaiting caller receives the rejection; until then it must not end the process.
  done.catch(() => undefined);
  return { release: () => sender.kill('SIGUSR1'), done };
}

/** Lines of a child's output as they arrive, including stderr. */
export function linesOf(child: ChildProcess): string[] {
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    if (stream) createInterface({ input: stream }).on('line', (line) => lines.push(line));
  }
  return lines;
}

export interface Datagram {
  from: string;
  text: string;
}

/** Receives datagrams on a port of every address of a host. */
export class Listener {
  readonly #child: ChildProcess;
  readonly #lines: string[];

  private constructor(namespace: Namespace, port: number) {
    this.#child = namespace.spawn(process.execPath, [agent('udp_receive'), `${port}`]);
    this.#lines = linesOf(this.#child);
  }

  static async start(namespace: Namespace, port: number): Promise<Listener> {
    const listener = new Listener(namespace, port);
    await until('the listener listens', () => listener.#lines[0] === 'listening');
    return listener;
  }

  /** The datagrams that arrived so far, in order. */
  get received(): Datagram[] {
    return this.#lines.slice(1).map((line) => JSON.parse(line) as Datagram);
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill('SIGTERM');
    await once(this.#child, 'exit');
  }
}

export interface Datagrams {
  source?: string;
  destination: string;
  port: number;
  count: number;
  from?: number;
  hex?: string;
}

/** Sends datagrams as fast as one process can, or waits `everyMs` after each turn; rows take turns. */
export async function send(
  from: Namespace,
  plan: Datagrams[],
  everyMs = 0,
): Promise<{ sent: number; failed: number }> {
  const args = [agent('udp_send'), JSON.stringify(plan), `${everyMs}`];
  const { code, stdout, stderr } = await from.try(process.execPath, args);
  if (code !== 0) throw new Error(`sending datagrams failed: ${stderr.trim()}`);
  return JSON.parse(stdout) as { sent: number; failed: number };
}
