// SPDX-License-Identifier: Apache-2.0
// Who can see keys: a plain client of the peer protocol receives keys that work. None of their octets ever passes the
// bus in plaintext or appears in a sample. Neither another user of the bus nor another user of the system can access
// more than its permissions allow. No IV is used twice under one key.
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { contracts, services, subjectOf } from '../../services/shared/contracts.js';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { accounts, keysGroup } from '../../services/shared/process/privileges.js';
import type { Capture } from './capture.js';
import { until } from './namespace.js';
import { frame, ipv4, udp } from './packet_octets.js';
import { pspFrames } from './psp_frames.js';
import { macIn, startFrames } from './raw_frames.js';
import { keysInto, type Offer } from './sealed_by_hand.js';
import { hostInterface, Topology } from './topology.js';

const agent = (name: string) => fromPackageRoot(`dist/test/e2e/agents/${name}.js`);
let net: Topology;

beforeAll(async () => {
  net = await Topology.create({ edit: (_, yaml) => `${yaml}sampling: { egressLog2: 0, snapBytes: 1024 }\n` });
  await net.a.start();
  // Test code takes gateway b's place: its side of the wire is an ordinary interface.
  const { namespace } = net.b;
  namespace.run('ethtool', '-K', 'veth-wire', 'tx', 'off');
  namespace.ip('address', 'add', '192.0.2.2/24', 'dev', 'veth-wire');
  namespace.ip('link', 'set', 'veth-wire', 'up');
});
afterAll(() => net?.close());

describe.each([{ version: 0 }, { version: 1 }])(
  'a plain gRPC client, PSP version $version',
  ({ version }) => {
    interface Said {
      requestId: number;
      given: { version: number; spi: number; ip: string; mac: string; cookie: number };
      keys: string[];
      backSpi: number;
      backVersion: number;
      back: string;
    }
    let bus: Capture;
    let said: Said;

    beforeAll(async () => {
      // All messages on the bus, including replies to inboxes.
      bus = await net.capture(`bus-${version}`, {
        at: [net.a.namespace, 'lo'],
        filter: 'tcp port 4270 or 5270',
      });
      const answerer = net.host1.namespace.spawn(process.execPath, [agent('udp_answer'), '7777']);
      await until('the host answers', () => answerer.stdout?.readableLength !== 0);
      const tls = join(net.b.files, 'tls');
      const peer = await net.b.namespace.try(process.execPath, [
        agent('plain_peer'),
        tls,
        '198.51.100.1:3000',
        `${version}`,
      ]);
      answerer.kill('SIGTERM');
      await bus.stop();
      expect(peer.code, peer.stderr).toBe(0);
      said = JSON.parse(peer.stdout) as Said;
    });

    it('receives parameters as requested, with its request id', () => {
      expect(said.requestId).toBe(42);
      expect(said.given).toMatchObject({ version, ip: '192.0.2.1', cookie: 0 });
      expect(said.given.spi & 0x7fff_ffff).not.toBe(0);
      expect(said.keys[0]?.length).toBe(version === 0 ? 32 : 64);
    });

    it('has its packet delivered, and receives the answer under the key that it offered', () => {
      expect(said.back).toBe('answer to: a packet made by hand');
      expect(said.backSpi).toBe(0x1234_5678);
      expect(said.backVersion).toBe(version);
    });

    it('leaves no octet of a key on the bus, in any common encoding', () => {
      const octets = Buffer.concat(bus.frames().map((frame) => frame.octets));
      expect(octets.length).toBeGreaterThan(1000);
      for (const subject of ['flow.accept', 'sample.egress']) expect(octets.includes(subject)).toBe(true);
      expectNoKey(octets);
      expect(net.a.log()).not.toContain(said.keys[0]);
    });

    it("leaves none in the sampler's output either", async () => {
      const folder = join(net.folder, 'state-a', 'samples');
      const written = await until('its packet is in a file and in a line', () => {
        const files = existsSync(folder) ? readdirSync(folder) : [];
        const octets = Buffer.concat(files.map((file) => readFileSync(join(folder, file))));
        const spi = `0x${said.backSpi.toString(16).padStart(8, '0')}`;
        const told = net.a.printed().includes(`"spi":"${spi}"`) && octets.includes(`SPI ${spi}`);
        return told && Buffer.concat([octets, Buffer.from(net.a.printed())]);
      });
      expectNoKey(written);
    });

    it('leaves none in metrics, health, the audit trail, or anything that the node stores on disk', async () => {
      const fetched = async (page: string) => {
        const script = `process.stdout.write(await (await fetch('http://127.0.0.1:9464${page}')).text())`;
        const node = [process.execPath, '--input-type=module', '-e', script] as const;
        return (await net.a.namespace.try(node[0], node.slice(1))).stdout;
      };
      const trail = await until('its tunnel stands in the audit trail', async () => {
        const { stdout } = await net.a.psp('audit', '--json');
        return stdout.includes('"psp.tunnel.up"') && stdout;
      });
      const metrics = await fetched('/metrics');
      expect(metrics).toContain('psp_peer_packets_total');
      const state = join(net.folder, 'state-a');
      const kept = readdirSync(state, { recursive: true, withFileTypes: true }).filter((entry) =>
        entry.isFile(),
      );
      expect(kept.some(({ parentPath }) => parentPath.includes('jetstream'))).toBe(true);
      const files = kept.map(({ parentPath, name }) => readFileSync(join(parentPath, name)));
      const told = [trail, metrics, await fetched('/healthz'), net.a.log()].map((text) => Buffer.from(text));
      expectNoKey(Buffer.concat([...told, ...files]));
    });

    /** Any eight consecutive octets of a key would be too many. */
    function expectNoKey(octets: Buffer): void {
      for (const key of said.keys.map((hex) => Buffer.from(hex, 'hex'))) {
        for (let at = 0; at + 8 <= key.length; at++)
          expect(octets.includes(key.subarray(at, at + 8))).toBe(false);
        for (const spelling of ['hex', 'base64', 'base64url'] as const) {
          expect(octets.includes(key.toString(spelling).slice(0, 16))).toBe(false);
        }
      }
    }
  },
);

describe('the bus', () => {
  const password = (user: string) =>
    readFileSync(join(net.a.files, 'nats', `${user}.password`), 'utf8').trim();
  const commands = Object.values(contracts)
    .filter(({ subject }) => subject.startsWith('cmd.'))
    .map((row) => subjectOf('a', row));
  const listen = async (user: string, secret: string, subjects: string[]) => {
    const result = await net.a.namespace.try(process.execPath, [
      agent('bus_listener'),
      user,
      secret,
      ...subjects,
    ]);
    return JSON.parse(result.stdout) as { connected: boolean; received: string[]; refused: string[] };
  };

  it('rejects clients without the right password', async () => {
    expect(await listen('operator', 'guess', [])).toMatchObject({ connected: false });
    expect(await listen('', '', [])).toMatchObject({ connected: false });
  });

  it('gives the key exchange no access to commands, to other inboxes, or to all subjects', async () => {
    const forbidden = [...commands, 'psp.v1.a.>', '>', '_INBOX_dataplane.>', '_INBOX_operator.>', '_INBOX.>'];
    const result = await listen('keyexchange', password('keyexchange'), [
      ...forbidden,
      '_INBOX_keyexchange.x',
    ]);
    expect(result.refused.sort()).toEqual(forbidden.sort());
    expect(result.received).toEqual(['_INBOX_keyexchange.x']);
  });

  it.each(['sampler', 'stats'])(
    'gives %s no access to commands, wants or the inboxes of others',
    async (user) => {
      const wants = [contracts.flowMissed, contracts.flowStale].map((row) => subjectOf('a', row));
      const inboxes = services.filter((other) => other !== user).map((other) => `_INBOX_${other}.>`);
      const forbidden = [...commands, ...wants, ...inboxes, 'psp.v1.a.>', '>'];
      const result = await listen(user, password(user), [...forbidden, `_INBOX_${user}.x`]);
      expect(result.refused.sort()).toEqual(forbidden.sort());
      expect(result.received).toEqual([`_INBOX_${user}.x`]);
    },
  );

  it('lets the operator subscribe to messages, but not to the inboxes of services', async () => {
    const inboxes = ['_INBOX_dataplane.>', '_INBOX_keyexchange.>', '>'];
    const result = await listen('operator', password('operator'), ['psp.v1.a.>', ...inboxes]);
    expect(result.received).toEqual(['psp.v1.a.>']);
  });
});

describe('files of a node', () => {
  const readable = async (file: string, uid: number, groups: number[]) => {
    const as = [
      '--reuid',
      `${uid}`,
      '--regid',
      `${uid}`,
      ...(groups.length ? ['--groups', groups.join()] : ['--clear-groups']),
    ];
    return (await net.a.namespace.try('setpriv', [...as, 'cat', join(net.a.files, file)])).code === 0;
  };

  it('give only dataplane and keyexchange access to the secret', async () => {
    expect(await readable('bus.secret', accounts.dataplane.uid, [keysGroup])).toBe(true);
    expect(await readable('bus.secret', accounts.keyexchange.uid, [keysGroup])).toBe(true);
    expect(await readable('bus.secret', accounts['nats-server'].uid, [])).toBe(false);
    expect(await readable('bus.secret', 65_534, [])).toBe(false);
  });

  it('give a password and the private key to their one reader only', async () => {
    expect(await readable('nats/dataplane.password', accounts.keyexchange.uid, [keysGroup])).toBe(false);
    expect(await readable('nats/operator.password', accounts.keyexchange.uid, [keysGroup])).toBe(false);
    expect(await readable('tls/node.key', accounts.dataplane.uid, [keysGroup])).toBe(false);
    expect(await readable('tls/node.key', 65_534, [])).toBe(false);
    expect(await readable('tls/node.key', accounts.keyexchange.uid, [keysGroup])).toBe(true);
  });

  it('runs no service as root', () => {
    for (const child of [...services, 'nats-server', 'nats-audit'] as const) {
      const status = readFileSync(`/proc/${net.a.pidOf(child)}/status`, 'utf8');
      const { uid } = accounts[child === 'nats-audit' ? 'nats-server' : child];
      expect(/^Uid:\s+(.*)$/m.exec(status)?.[1]?.split(/\s+/)).toEqual(Array(4).fill(`${uid}`));
    }
  });
});

describe('a peer that repeatedly offers two keys', () => {
  it('receives no IV twice under one key, across installs and across starts of the dataplane', async () => {
    const [one, other] = [0x2345_6789, 0x2345_678a].map((spi) => ({ spi, key: randomBytes(32) })) as [
      Offer,
      Offer,
    ];
    // The same key twice in succession, and one that comes back after another.
    const offers = [one, one, other];
    const wire = await net.capture('two-keys', { filter: 'udp dst port 1000 and src host 192.0.2.1' });
    const { host1, a } = net;
    const [to, from] = [macIn(a.namespace, 'veth-host'), macIn(host1.namespace, hostInterface)];
    const payload = udp(7500, Buffer.from('x'));
    const packet = frame(to, from, 0x0800, ipv4({ from: host1.v4, to: '10.2.0.50', protocol: 17, payload }));
    const sender = startFrames(host1.namespace, hostInterface, [packet], join(net.folder, 'two-keys'), 1);
    // So many installs that several fall into one second.
    const installs = 40;
    await keysInto(net, 'a', offers, installs);
    const { epoch } = await a.numbers();
    const killedAt = Date.now() / 1000;
    a.kill('dataplane');
    await until('the dataplane is back', async () => {
      const now = await a.numbers().catch(() => undefined);
      return now !== undefined && now.epoch !== epoch;
    });
    await keysInto(net, 'a', offers, installs);
    await sender.stop();
    await wire.stop();
    const frames = wire.frames();
    for (const offer of [one, other]) {
      const [before, after] = [true, false].map((isBefore) =>
        pspFrames(frames.filter(({ time }) => time < killedAt === isBefore))
          .filter(({ spi }) => spi === offer.spi)
          .map(({ iv }) => iv),
      ) as [bigint[], bigint[]];
      expect(before.length + after.length - new Set([...before, ...after]).size).toBe(0);
      for (const ivs of [before, after]) expect(ivs.length).toBeGreaterThan(installs);
    }
  });
});
