// SPDX-License-Identifier: Apache-2.0
// The fates of the datagrams that host 1 sends to a port of host 2. They are counted as they are sent and as they
// arrive, whether or not a socket reads them, and compared with the drops that both gateways and the links between
// them report.
import type { Namespace } from './namespace.js';
import { type Numbers, newDrops } from './numbers.js';
import type { Topology } from './topology.js';

export class DatagramFates {
  readonly #links: number;

  private constructor(
    private readonly net: Topology,
    private readonly before: readonly Numbers[],
    port: number,
  ) {
    count(net.host1.namespace, 'output', port);
    count(net.host2.namespace, 'input', port);
    this.#links = droppedByLinks(net);
  }

  /**
   * Counts from now on. Datagrams must fit the path, and must be the only traffic that a gateway may drop, except for
   * its size.
   */
  static async of(net: Topology, port: number): Promise<DatagramFates> {
    return new DatagramFates(net, await numbersOf(net), port);
  }

  get sent(): number {
    return counted(this.net.host1.namespace);
  }

  /**
   * The number of datagrams that have not arrived, without those that were counted as dropped. Some may be in flight.
   */
  async missing(): Promise<number> {
    const after = await numbersOf(this.net);
    const drops = this.before.flatMap((before, i) => Object.entries(newDrops(before, after[i] as Numbers)));
    const blamed = drops.filter(([reason]) => !reason.endsWith('/too_big'));
    const dropped = blamed.reduce((sum, [, packets]) => sum + packets, 0);
    const known = dropped + droppedByLinks(this.net) - this.#links;
    return Math.max(0, this.sent - counted(this.net.host2.namespace) - known);
  }
}

const numbersOf = (net: Topology): Promise<Numbers[]> => Promise.all([net.a.numbers(), net.b.numbers()]);

const table = ['inet', 'datagrams'] as const;

/** Counts from 0. */
function count(host: Namespace, hook: 'output' | 'input', port: number): void {
  const named = table.join(' ');
  const chain = `${named} ${hook}`;
  host.run(
    'nft',
    `add table ${named}; delete table ${named}; add table ${named};
    add chain ${chain} { type filter hook ${hook} priority 0; };
    add rule ${chain} udp dport ${port} counter`,
  );
}

const counted = (host: Namespace): number =>
  Number(/counter packets (\d+)/.exec(host.run('nft', 'list', 'table', ...table))?.[1]);

/** Frames dropped because a kernel queue between the hosts was full. */
function droppedByLinks({ host1, a, wire, b, host2 }: Topology): number {
  const namespaces = [host1.namespace, a.namespace, wire, b.namespace, host2.namespace];
  const links: { stats64: { tx: { dropped: number } } }[] = namespaces.flatMap((namespace) =>
    JSON.parse(namespace.ip('-json', '-statistics', 'link', 'show')),
  );
  return links.reduce((sum, { stats64 }) => sum + stats64.tx.dropped, 0);
}
