// SPDX-License-Identifier: Apache-2.0
// The terms of tunnels over real gRPC with TLS: the mode, which both sides must configure alike; authOnly, which both
// sides must set; and the cookie, which is passed through. If two node files disagree, nothing is installed on either
// side, and each side reports why.
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { Mode } from '../../../proto/gen/bus.js';
import { eventually, longMs } from '../shared/waiting.js';
import { Authority } from './certificates.js';
import { answerTo, FakePeer } from './peer.js';
import { flowOf, freePorts, startNode, type TestNode, unhurried } from './rig.js';

let authority: Authority;
const closing: (() => Promise<void> | void)[] = [];
beforeAll(async () => {
  authority = await Authority.create();
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

const flow = flowOf('10.1.0.5', '10.2.0.7');

/**
 * @param ofB b's entry in a's node file. @param ofA a's entry in b's.
 */
async function nodes(ofB: string, ofA: string): Promise<{ a: TestNode; b: TestNode }> {
  const ports = await freePorts('a', 'b');
  const a = await startNode('a', authority, { ports, terms: { b: ofB }, times: unhurried });
  closing.push(() => a.stop());
  const b = await startNode('b', authority, { ports, terms: { a: ofA }, times: unhurried });
  closing.push(() => b.stop());
  a.dataplane.announce();
  b.dataplane.announce();
  return { a, b };
}

/** Publishes wants as a dataplane does, each second, until `ended`. */
async function wanted<T>(node: TestNode, ended: () => T): Promise<T> {
  for (let left = longMs / 1000; ; left--) {
    node.dataplane.want('b', [flow]);
    try {
      return await vi.waitFor(ended, { timeout: 1000, interval: 5 });
    } catch (error) {
      if (left === 0) throw error;
    }
  }
}
const installed = (node: TestNode) => () => {
  const install = node.dataplane.installs.at(-1);
  expect(install).toBeDefined();
  return install as NonNullable<typeof install>;
};
const refused = (node: TestNode) => () => {
  const refusal = node.dataplane.refusals.at(-1);
  expect(refusal).toBeDefined();
  return refusal as NonNullable<typeof refusal>;
};

describe('two sides that agree', () => {
  it('on transport mode and cookies exchange keys for it, and the seals bind both', async () => {
    const { a, b } = await nodes('mode: transport', 'mode: transport');
    Object.assign(a.dataplane, { mode: Mode.MODE_TRANSPORT, cookie: 0xc00c1e_0000_0001n });
    Object.assign(b.dataplane, { mode: Mode.MODE_TRANSPORT, cookie: 0xc00c1e_0000_0002n });
    const { message, keys } = await wanted(a, installed(a));
    expect(message.egress).toMatchObject([{ mode: Mode.MODE_TRANSPORT, cookie: 0xc00c1e_0000_0002n }]);
    expect(keys[0]).toEqual(b.dataplane.offered.get(message.egress[0]?.spi as number));
    const accept = b.dataplane.accepts.at(-1);
    expect(accept?.message.egress).toMatchObject([
      { mode: Mode.MODE_TRANSPORT, cookie: 0xc00c1e_0000_0001n },
    ]);
    expect(accept?.keys[0]).toEqual(a.dataplane.offered.get(accept?.message.egress[0]?.spi as number));
  });

  it('that traffic is only authenticated use versions 2 and 3', async () => {
    const { a, b } = await nodes('authOnly: true', 'authOnly: true');
    a.dataplane.version = 3;
    const { message, keys } = await wanted(a, installed(a));
    expect(message.egress).toMatchObject([{ version: 3 }]);
    expect(keys[0]).toHaveLength(32);
    expect(b.dataplane.accepts.at(-1)?.message).toMatchObject({ version: 3, egress: [{ version: 3 }] });
    a.dataplane.version = 2;
    b.dataplane.accepts.length = 0;
    await wanted(a, () => expect(b.dataplane.accepts.at(-1)?.message.egress).toMatchObject([{ version: 2 }]));
    expect(b.dataplane.accepts.at(-1)?.keys[0]).toHaveLength(16);
  });
});

describe('two sides that disagree', () => {
  const cases: [string, string, string, Mode, string][] = [
    ['we want transport', 'mode: transport', 'mode: tunnel', Mode.MODE_TRANSPORT, 'a offers transport mode'],
    ['the peer wants transport', 'mode: tunnel', 'mode: transport', Mode.MODE_TUNNEL, 'a offers tunnel mode'],
  ];
  it.each(cases)('on the mode refuse, and both report it: %s', async (_what, ofB, ofA, mode, says) => {
    const { a, b } = await nodes(ofB, ofA);
    a.dataplane.mode = mode;
    expect(await wanted(a, refused(a))).toMatchObject({ peer: 'b', flows: [flow], refusal: 'PEER_REFUSED' });
    expect(a.linesOf('PEER_REFUSED')[0]?.err).toContain(`INVALID_ARGUMENT: MODE_MISMATCH: peer ${says}`);
    expect(b.linesOf('MODE_MISMATCH')[0]).toMatchObject({ peer: 'a', flow: '10.1.0.5 -> 10.2.0.7' });
    expect(await b.counter('MODE_MISMATCH')).toBeGreaterThan(0);
    expect((await b.status()).peers).toMatchObject([{ name: 'a', lastCode: 'MODE_MISMATCH' }]);
    expect((await a.status()).peers).toMatchObject([{ breaker: 'closed', failed: 0n }]);
    expect([a.dataplane.installs, b.dataplane.accepts]).toEqual([[], []]);
  });

  it.each([
    ['we require encryption', '', 'authOnly: true', 1, '[1,0]', '[3,2]'],
    ['the peer requires encryption', 'authOnly: true', '', 3, '[3,2]', '[1,0]'],
  ])('on encryption refuse, and both report it: %s', async (_what, ofB, ofA, version, offered, spoken) => {
    const { a, b } = await nodes(ofB || 'authOnly: false', ofA || 'authOnly: false');
    a.dataplane.version = version;
    expect(await wanted(a, refused(a))).toMatchObject({ peer: 'b', refusal: 'PEER_REFUSED' });
    expect(a.linesOf('PEER_REFUSED')[0]?.err).toContain(
      `VERSION_NOT_SPOKEN: none of the PSP versions ${offered} is allowed here, only ${spoken}`,
    );
    expect(b.linesOf('VERSION_NOT_SPOKEN')[0]).toMatchObject({ peer: 'a' });
    expect([a.dataplane.installs, b.dataplane.accepts]).toEqual([[], []]);
  });
});

describe('a peer without modes', () => {
  async function against(ofB: string, mode: Mode): Promise<{ a: TestNode; fake: FakePeer }> {
    const ports = await freePorts('a', 'b');
    const fake = new FakePeer();
    const pair = await authority.gateway('spiffe://psp/gateway/b');
    await fake.start(ports.b as number, authority.certificate, pair);
    closing.push(() => fake.stop());
    fake.behave = (request, callback) => callback(null, answerTo(request));
    const a = await startNode('a', authority, { ports, terms: { b: ofB }, times: unhurried });
    closing.push(() => a.stop());
    a.dataplane.mode = mode;
    return { a, fake };
  }

  it('uses tunnel mode', async () => {
    const { a, fake } = await against('mode: tunnel', Mode.MODE_TUNNEL);
    const { message } = await wanted(a, installed(a));
    expect(message.egress).toMatchObject([{ mode: Mode.MODE_TUNNEL }]);
    expect(fake.requests.at(-1)?.tunnels[0]?.reverseParams?.mode).toBe(1);
  });

  it('whose answer has another mode than ours is treated as a refusal: nothing is installed, and our offer is withdrawn', async () => {
    const { a, fake } = await against('mode: transport', Mode.MODE_TRANSPORT);
    expect(await wanted(a, refused(a))).toMatchObject({ peer: 'b', flows: [flow], refusal: 'MODE_MISMATCH' });
    expect(fake.requests.at(-1)?.tunnels[0]?.reverseParams?.mode).toBe(2);
    expect(a.linesOf('MODE_MISMATCH')[0]?.err).toBe(
      'peer b offers tunnel mode, but its mode is transport here',
    );
    expect((await a.status()).peers).toMatchObject([{ breaker: 'closed', failed: 0n }]);
    expect(a.dataplane.installs).toEqual([]);
  });
});

it('a want whose mode or cookie was changed on the bus cannot be opened', async () => {
  const { a, b } = await nodes('mode: tunnel', 'mode: tunnel');
  await wanted(a, installed(a));
  const before = b.dataplane.accepts.length;
  a.dataplane.want('b', [flow], {
    change: ({ offers: [offer] }) => void Object.assign(offer ?? {}, { mode: Mode.MODE_TRANSPORT }),
  });
  await eventually(async () => expect(await a.counter('SEAL_INVALID')).toBe(1));
  a.dataplane.want('b', [flow], {
    change: ({ offers: [offer] }) => void Object.assign(offer ?? {}, { cookie: 1n }),
  });
  await eventually(async () => expect(await a.counter('SEAL_INVALID')).toBe(2));
  a.dataplane.want('b', [flow], {
    change: ({ offers: [offer] }) => void Object.assign(offer ?? {}, { mode: Mode.MODE_UNSPECIFIED }),
  });
  await eventually(async () => expect(await a.counter('PAYLOAD_INVALID')).toBe(1));
  expect(b.dataplane.accepts.length).toBe(before);
});
