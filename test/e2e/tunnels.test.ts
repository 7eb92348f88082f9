// SPDX-License-Identifier: Apache-2.0
// Tunnels in the node file: agreed without a packet, requested until they are established and not afterwards,
// whatever happens to other peers.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from './namespace.js';
import { grew, type Numbers } from './numbers.js';
import { Topology } from './topology.js';
import { ping } from './traffic.js';

/** Absent peers: c's address exists and refuses connections, d's does not exist and never answers. */
const deadPeers =
  '  c: { endpoint: "198.51.100.2:3999", vips: [10.3.0.0/24] }\n' +
  '  d: { endpoint: "198.51.100.3:3000", vips: [10.4.0.0/24] }\n';
const tunnelsTo = (...remotes: string[]) =>
  `tunnels: [${remotes.map((remote) => `{ local: 10.1.0.2, remote: ${remote} }`).join(', ')}]\n`;

const codeOfTheDead = /^(PEER_DOWN|PEER_TIMEOUT)$/;
const exchangesWith = (numbers: Numbers, peer: string) => numbers.peers[peer]?.exchanges ?? 0;

describe('tunnels to two dead peers and a live one', () => {
  let net: Topology;
  let stands: Numbers;

  beforeAll(async () => {
    const edit = (node: string, yaml: string) =>
      node === 'a'
        ? yaml.replace(/stateDir:/, (rest) => `${tunnelsTo('10.3.0.2', '10.4.0.2', '10.2.0.2')}${rest}`)
        : yaml;
    net = await Topology.create({
      edit: (node, yaml) =>
        edit(node, node === 'a' ? yaml.replace(/^ {2}b: .*\n/m, (b) => `${deadPeers}${b}`) : yaml),
    });
    await net.b.start();
    await net.a.start();
    // The absent peers are contacted 0, 1, 3, 7 and 15 s after the start, and each time first.
    stands = await until('the tunnel to b stands', async () => {
      const now = await net.a.numbers();
      return now.values.keyed === 1 && now;
    });
  });
  afterAll(() => net?.close());

  it('establish the tunnel to the live peer at once and without a packet, while the others are still wanted', async () => {
    expect(stands.values).toMatchObject({ missEvents: 0, heldTotal: 0, wants: 2 });
    expect(stands.peers.b).toMatchObject({ answered: 1, failed: 0, lastCode: '' });
    for (const peer of ['c', 'd']) expect(stands.peers[peer]?.answered).toBe(0);
    const flows = (await net.a.flows()).filter(({ state }) => state === 'keyed');
    expect(flows.map(({ source, destination }) => [source, destination])).toEqual([['10.1.0.2', '10.2.0.2']]);
    expect((await net.b.numbers()).values).toMatchObject({ keyed: 1, missEvents: 0 });
  });

  it('send the live peer no more requests, and repeat those to the dead ones, each with its code', async () => {
    const later = await until('the dead were asked twice more', async () => {
      const now = await net.a.numbers();
      return ['c', 'd'].every((peer) => exchangesWith(now, peer) >= exchangesWith(stands, peer) + 2) && now;
    });
    expect(exchangesWith(later, 'b')).toBe(exchangesWith(stands, 'b'));
    expect(later.values.wants).toBe(2);
    for (const peer of ['c', 'd']) {
      expect(later.peers[peer]).toMatchObject({
        answered: 0,
        lastCode: expect.stringMatching(codeOfTheDead),
      });
    }
    const shown = (await net.a.psp('status')).stdout;
    for (const peer of ['c', 'd'])
      expect(shown).toMatch(new RegExp(`^\\s*${peer}\\b.*PEER_(DOWN|TIMEOUT)`, 'm'));
  });

  it('carry the first packet without a miss on either side', async () => {
    expect((await ping(net.host1.namespace, net.host2.v4)).received).toBe(1);
    for (const gateway of [net.a, net.b]) {
      expect((await gateway.numbers()).values).toMatchObject({ missEvents: 0, heldTotal: 0, keyed: 1 });
    }
  });
});

describe('a tunnel to a peer that starts later', () => {
  let net: Topology;

  beforeAll(async () => {
    net = await Topology.create({
      edit: (node, yaml) => (node === 'a' ? `${yaml}${tunnelsTo('10.2.0.2')}` : yaml),
    });
    await net.a.start();
  });
  afterAll(() => net?.close());

  it('is wanted until then, and is established by itself', async () => {
    const alone = await until('b was asked in vain', async () => {
      const now = await net.a.numbers();
      return (now.peers.b?.failed ?? 0) > 0 && now;
    });
    expect(alone.values).toMatchObject({ keyed: 0, wants: 1, missEvents: 0 });
    expect(alone.peers.b?.lastCode).toMatch(codeOfTheDead);
    await net.b.start();
    const up = await until(
      'the tunnel stands',
      async () => {
        const now = await net.a.numbers();
        return now.values.keyed === 1 && now;
      },
      60_000,
    );
    expect(up.values).toMatchObject({ wants: 0, missEvents: 0 });
    expect((await ping(net.host1.namespace, net.host2.v4)).received).toBe(1);
    const after = await net.a.numbers();
    expect(grew(up, after, 'missEvents')).toBe(0);
    expect(after.peers.b?.exchanges).toBe(up.peers.b?.exchanges);
  });
});
