// SPDX-License-Identifier: Apache-2.0
// Paced datagrams of many tunnels between the two hosts, and when those of each flow arrived.
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { type Namespace, until } from '../../test/e2e/namespace.js';
import type { Topology } from '../../test/e2e/topology.js';

/** Each tunnel sends so often in each direction. */
export const periodMs = 100;

const agent = (name: string): string => fromPackageRoot(`dist/bench/agents/${name}.js`);

/** A pair of addresses, host 1 first. */
export type Pair = readonly [string, string];
export type Way = 'to host 1' | 'to host 2';

/** A process whose output is read whole. */
class Agent {
  #text = '';

  constructor(private readonly child: ChildProcess) {
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.#text += chunk.toString();
      });
    }
  }

  begun(): Promise<unknown> {
    return until('an agent runs', () => this.#text.includes('\n'));
  }

  /** @returns what it prints at its end. */
  async end<T>(): Promise<T> {
    const closed = once(this.child, 'close');
    this.child.kill('SIGTERM');
    await closed;
    const last = this.#text.trimEnd().split('\n').at(-1) as string;
    return JSON.parse(last) as T;
  }
}

export interface Arrivals {
  sent: number;
  /** Unix times in milliseconds of each flow, in the order of the pairs. */
  times: number[][];
}

/** Datagrams of these tunnels in one direction. */
export class Traffic {
  private constructor(
    private readonly sender: Agent,
    private readonly receiver: Agent,
  ) {}

  static async start(net: Topology, pairs: readonly Pair[], way: Way, port: number): Promise<Traffic> {
    const hosts: [Namespace, Namespace] = [net.host1.namespace, net.host2.namespace];
    const [from, to] = way === 'to host 2' ? hosts : [hosts[1], hosts[0]];
    const flows = pairs.map(([one, other]) => (way === 'to host 2' ? [one, other] : [other, one]));
    const receiver = new Agent(to.spawn(process.execPath, [agent('arrivals'), `${port}`]));
    await receiver.begun();
    const args = [agent('paced_sender'), JSON.stringify(flows), `${port}`, `${periodMs}`];
    const sender = new Agent(from.spawn(process.execPath, args));
    await sender.begun();
    return new Traffic(sender, receiver);
  }

  async stop(): Promise<Arrivals> {
    const { sent } = await this.sender.end<{ sent: number }>();
    return { sent, times: await this.receiver.end<number[][]>() };
  }
}
