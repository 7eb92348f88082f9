// SPDX-License-Identifier: Apache-2.0
// What the node file says of tunnels, as the dataplane holds to it on a real bus: which offers it makes and takes,
// what it hands to its engine, and what it says of everything that is not encrypted or not checked.
import { afterEach, describe, expect, it } from 'vitest';
import { Mode } from '../../../proto/gen/bus.js';
import { mapped, parseAddress } from '../../../services/shared/address.js';
import { readEvent } from '../../../services/shared/audit/event.js';
import { contracts } from '../../../services/shared/contracts.js';
import { until } from '../../e2e/namespace.js';
import { flow, missed, type Rig, startRig } from './rig.js';

let rig: Rig;
afterEach(() => rig.close());

const status = () => rig.operator.request(contracts.dataplaneStatus, {}, 1000);
/** The keys of the node file that a warning in the log names. */
const warned = () =>
  rig
    .lines()
    .flatMap(({ level, err, msg }) =>
      level === 40 && msg === 'less protection by configuration' ? [err?.split(': ')[0]] : [],
    );
async function auditOf(...types: string[]): Promise<unknown[]> {
  const found: unknown[] = [];
  const events = rig.auditStream.read({ follow: false }, new AbortController().signal);
  for await (const { octets } of events) {
    const event = readEvent(octets);
    if (event && types.includes(event.type)) found.push(event.data);
  }
  return found;
}

describe('a peer that is only authenticated, in transport mode, with cookies', () => {
  const begin = async () => {
    rig = await startRig({ terms: 'authOnly: true, mode: transport, cookie: true, mtu: 1400' });
  };

  it('is offered versions that encrypt nothing, under a seal that binds mode and cookie', async () => {
    await begin();
    rig.engine.emit(...missed(1));
    const { want, keys } = await rig.keyexchange.want(1);
    expect(want.offers).toMatchObject([{ version: 3, mode: Mode.MODE_TRANSPORT }]);
    expect(want.offers[0]?.cookie).not.toBe(0n);
    expect(keys[0]).toHaveLength(32);
    const egress = [{ ...rig.keyexchange.offer(), version: 3, mode: Mode.MODE_TRANSPORT }];
    const message = rig.keyexchange.installOf(want, { egress });
    expect(await rig.keyexchange.install(message)).toMatchObject({ code: '', results: [1] });
  });

  it('is used with no other version or mode', async () => {
    await begin();
    rig.engine.emit(...missed(1));
    const { want } = await rig.keyexchange.want(1);
    const good = { version: 3, mode: Mode.MODE_TRANSPORT };
    for (const bad of [
      { ...good, version: 1 },
      { ...good, version: 0 },
      { ...good, mode: Mode.MODE_TUNNEL },
      { ...good, mode: Mode.MODE_UNSPECIFIED },
    ]) {
      const egress = [{ ...rig.keyexchange.offer(), ...bad }];
      const message = rig.keyexchange.installOf(want, { egress });
      expect(await rig.keyexchange.install(message), JSON.stringify(bad)).toMatchObject({
        code: 'PAYLOAD_INVALID',
      });
    }
    const accept = (version: number) =>
      rig.keyexchange.accept(rig.keyexchange.acceptOf([flow(2)], [], { version }));
    expect(await accept(1)).toMatchObject({ code: 'PAYLOAD_INVALID' });
    expect(await accept(2)).toMatchObject({ code: '', offers: [{ version: 2 }] });
    expect(rig.engine.called('install')).toEqual([]);
  });

  it('is shown as not encrypted, in status and notices, for as long as the node runs', async () => {
    await begin();
    const { health, notices, terms } = await status();
    expect(health).toEqual([]);
    expect(notices).toMatchObject([
      { part: 'peer b', message: expect.stringMatching(/^NOT ENCRYPTED \(authOnly\): /) },
    ]);
    expect(terms).toEqual([
      {
        name: 'b',
        mode: Mode.MODE_TRANSPORT,
        authOnly: true,
        cookie: true,
        cryptOffset: 0,
        mtu: 1400,
        samplingLog2: undefined,
      },
    ]);
    expect(warned()).toEqual(['peers.b.authOnly']);
  });
});

describe('a node file that says nothing of all this', () => {
  it('is held to: encrypted tunnels, the ACL on, nothing by-passed, captured or warned of', async () => {
    rig = await startRig();
    expect(rig.engine.options).toMatchObject({
      peers: [{ name: 'b', mode: 'tunnel', cookie: false, cryptOffset: 0 }],
      ingressAcl: true,
      bypass: [],
      capture: { ingress: false, egress: false, perSecond: 100 },
      sampling: { sealed: true, plain: false },
      secured: { hopLimit: 64, udpChecksum: false, sourcePorts: 'hash' },
    });
    expect(Object.keys(rig.engine.options.peers[0] ?? {}).sort()).toEqual(
      ['name', 'vips', 'mode', 'cookie', 'cryptOffset'].sort(),
    );
    expect(rig.engine.options.secured).not.toHaveProperty('dscp');
    const { health, ingressAcl, bypass, terms } = await status();
    expect({ health, ingressAcl, bypass }).toEqual({ health: [], ingressAcl: true, bypass: [] });
    expect(terms).toMatchObject([{ mode: Mode.MODE_TUNNEL, authOnly: false }]);
    expect(warned()).toEqual([]);
    await until('the start is told', async () => (await auditOf('config.loaded')).length > 0);
    expect(await auditOf('bypass.configured', 'acl.disabled')).toEqual([]);
  });
});

describe('a node file that opens the gateway', () => {
  const more =
    'ingressAcl: false, bypass: [{ prefix: 198.51.100.0/24, protocol: udp, port: 53 }, { prefix: 203.0.113.0/24 }], ' +
    'capture: { ingress: true, egress: true, perSecond: 7 }, sampling: { egressLog2: 4, points: [plain] }';

  it('is loud about it: notices, status, log and audit', async () => {
    rig = await startRig({ more });
    const { health, notices, ingressAcl, bypass } = await status();
    expect(health).toEqual([]);
    expect(notices.map(({ part }) => part).sort()).toEqual(['bypass', 'capture', 'ingress_acl', 'sampling']);
    expect(notices.find(({ part }) => part === 'bypass')?.message).toBe(
      'traffic passes unencrypted, both ways, by bypass: 198.51.100.0/24 udp port 53; 203.0.113.0/24',
    );
    expect(ingressAcl).toBe(false);
    expect(bypass).toEqual([
      { rule: '198.51.100.0/24 udp port 53', egressPackets: 21n, ingressPackets: 31n },
      { rule: '203.0.113.0/24', egressPackets: 22n, ingressPackets: 32n },
    ]);
    expect(warned()).toEqual(['ingressAcl', 'bypass[0]', 'bypass[1]', 'sampling.points', 'capture.egress']);
    await until('all is told', async () => (await auditOf('acl.disabled')).length > 0);
    expect(await auditOf('bypass.configured')).toEqual([
      { rule: '198.51.100.0/24 udp port 53' },
      { rule: '203.0.113.0/24' },
    ]);
    expect(await auditOf('config.loaded')).toMatchObject([
      {
        ingressAcl: false,
        bypass: 2,
        samplingPlain: true,
        captureEgress: true,
        insecurePeers: [],
        authOnlyPeers: [],
        cryptOffsetPeers: [],
      },
    ]);
  });

  it('reaches the engine as it stands', async () => {
    rig = await startRig({
      more,
      terms: 'cryptOffset: 5, sampling: off, mtu: 9000',
    });
    const { options } = rig.engine;
    expect(options).toMatchObject({
      peers: [{ cryptOffset: 5, sampling: 'off', mtu: 9000 }],
      ingressAcl: false,
      capture: { ingress: true, egress: true, perSecond: 7 },
      sampling: { egressLog2: 4, sealed: false, plain: true },
    });
    const prefix = Buffer.concat([mapped(parseAddress('198.51.100.0')), Buffer.of(120)]);
    expect(options.bypass.map((rule) => ({ ...rule, prefix: Buffer.from(rule.prefix) }))).toEqual([
      { prefix, protocol: 17, port: 53 },
      { prefix: Buffer.concat([mapped(parseAddress('203.0.113.0')), Buffer.of(120)]), protocol: 0, port: 0 },
    ]);
    const { samplingLog2, terms } = await status();
    expect([samplingLog2, terms[0]?.samplingLog2]).toEqual([4, undefined]);
  });
});
