// SPDX-License-Identifier: Apache-2.0
// Faults that keep the key exchange from starting: one error each, with the file or key.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { pino } from 'pino';
import { beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { Refusals } from '../../../services/keyexchange/adapters/refusals.js';
import { sliceOf } from '../../../services/keyexchange/config.js';
import { startKeyExchange } from '../../../services/keyexchange/service.js';
import { AuditTrail, makeAuditFolder } from '../../../services/shared/audit/trail.js';
import type { NodeConfig } from '../../../services/shared/config/config.js';
import { PspError } from '../../../services/shared/errors.js';
import { NatsServer } from '../shared/nats_server.js';
import { eventually } from '../shared/waiting.js';
import { Authority, type KeyPair } from './certificates.js';
import { freePorts, makeFolder } from './rig.js';

let authority: Authority;
let config: NodeConfig;
beforeAll(async () => {
  authority = await Authority.create();
});
beforeEach(async () => {
  const ports = await freePorts('a', 'b');
  ({ config } = await makeFolder('a', authority, {
    ports,
    bus: '127.0.0.1:1',
    password: 'password-of-keyexchange',
  }));
  return () => rmSync(config.files.config.replace('/node.yaml', ''), { recursive: true });
});

const own = 'spiffe://psp/gateway/a';
const log = pino({ level: 'silent' });
const start = async (change: Partial<NodeConfig> = {}) =>
  startKeyExchange(sliceOf({ ...config, ...change }), log);
const listening = (listen: string) => ({ keyExchange: { ...config.keyExchange, listen } });
const unreadable = (file: string, detail: string) => ({
  code: 'FILE_UNREADABLE',
  data: { file, detail: expect.stringContaining(detail), remedy: expect.stringMatching(/./) },
});

const unusable = (file: string, detail: string) => ({
  code: 'CERTIFICATE_UNUSABLE',
  message: expect.stringContaining(`${file} ${detail}`),
});

it('an address that is in use', async () => {
  const written = vi.spyOn(console, 'error');
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const listen = `127.0.0.1:${(other.address() as AddressInfo).port}`;
  await expect(start(listening(listen))).rejects.toMatchObject({
    code: 'ADDRESS_TAKEN',
    message: expect.stringMatching(`^${listen} .*keyExchange.listen`),
  });
  other.close();
  expect(written).not.toHaveBeenCalled();
});

it('an address that is not of this machine', async () => {
  await expect(start(listening('203.0.113.77:3000'))).rejects.toMatchObject({
    code: 'ADDRESS_UNUSABLE',
    message: expect.stringMatching(/203\.0\.113\.77:3000 .*EADDRNOTAVAIL.*keyExchange\.listen/),
  });
});

it.each(['ca', 'certificate', 'privateKey', 'busSecret'] as const)('a missing %s', async (which) => {
  rmSync(config.files[which]);
  await expect(start()).rejects.toMatchObject(unreadable(config.files[which], 'ENOENT'));
});

it('a missing password', async () => {
  const file = `${config.files.passwords}/keyexchange.password`;
  rmSync(file);
  await expect(start()).rejects.toMatchObject(unreadable(file, 'ENOENT'));
});

it.each(['ca', 'certificate', 'privateKey', 'busSecret'] as const)(
  'a %s with other content',
  async (which) => {
    writeFileSync(config.files[which], randomBytes(100));
    await expect(start()).rejects.toMatchObject({
      code: 'FILE_UNREADABLE',
      data: { file: config.files[which] },
    });
  },
);

it('a private key that does not belong to the certificate', async () => {
  const other = await authority.gateway('spiffe://psp/gateway/a');
  writeFileSync(config.files.privateKey, other.privateKey);
  await expect(start()).rejects.toMatchObject(unusable(config.files.privateKey, 'is not the key of '));
});

it('the certificate of another node', async () => {
  const other = await authority.gateway('spiffe://psp/gateway/b');
  writeFileSync(config.files.privateKey, other.privateKey);
  writeFileSync(config.files.certificate, other.certificate);
  await expect(start()).rejects.toMatchObject(
    unusable(config.files.certificate, 'holds the name spiffe://psp/gateway/b'),
  );
});

const hourMs = 3_600_000;
const faulty: [string, () => Promise<KeyPair>, string][] = [
  ['has expired', () => authority.issue([own], [], { to: -hourMs }), 'expired on '],
  ['is not valid yet', () => authority.issue([own], [], { from: hourMs }), 'is not valid before '],
  ['has two URIs', () => authority.issue([own, `${own}2`]), 'does not hold exactly one URI'],
  [
    'is for servers only',
    () => authority.issue([own], [], { usages: ['serverAuth'] }),
    'lacks the extended key usage clientAuth',
  ],
  [
    'is for clients only',
    () => authority.issue([own], [], { usages: ['clientAuth'] }),
    'lacks the extended key usage serverAuth',
  ],
  [
    'is of another authority',
    async () => (await Authority.create()).issue([own]),
    'does not lead to an authority in ',
  ],
];
it.each(faulty)('a certificate that %s', async (_what, issue, detail) => {
  const pair = await issue();
  writeFileSync(config.files.privateKey, pair.privateKey);
  writeFileSync(config.files.certificate, pair.certificate);
  await expect(start()).rejects.toMatchObject(unusable(config.files.certificate, detail));
});

it('an authority that has expired', async () => {
  const old = await Authority.create(Date.now() - 20 * 365 * 24 * hourMs);
  writeFileSync(config.files.ca, old.certificate);
  const pair = await old.issue([own]);
  writeFileSync(config.files.privateKey, pair.privateKey);
  writeFileSync(config.files.certificate, pair.certificate);
  await expect(start()).rejects.toMatchObject(unusable(config.files.ca, 'expired on '));
});

it('records refusals that are given before the audit can be written', async () => {
  const { node, audit } = sliceOf(config);
  const folder = makeAuditFolder(audit.stateDir, 'keyexchange');
  const trail = new AuditTrail({ ...audit, node, service: 'keyexchange', folder });
  const refusals = new Refusals(trail);
  refusals.given(new PspError('PEER_UNKNOWN', { identity: 'x' }), undefined);
  expect(readdirSync(folder)).toEqual([]);
  await trail.begin();
  refusals.given(new PspError('VIP_NOT_OURS', { vip: '10.1.0.1' }), 'b');
  await eventually(() => expect(trail.counters()).toContainEqual({ name: 'auditRecorded', value: 2n }));
  const [producer = ''] = readdirSync(folder);
  const spooled = readFileSync(join(folder, producer, '0000000001.log'), 'utf8');
  expect(spooled).toMatch(/PEER_UNKNOWN.*\n.*VIP_NOT_OURS/);
  await trail.close(0);
});

it('logs faults that do not keep it from starting: privileges that are kept, a bus that is not available yet', async () => {
  const nats = await NatsServer.create('a');
  const lines: Record<string, unknown>[] = [];
  const told = pino({ level: 'info' }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  const slice = sliceOf(config);
  const bus = { ...slice.bus, server: nats.listen, password: nats.passwords.keyexchange };
  const service = await startKeyExchange({ ...slice, bus }, told, () => ({
    dropped: false,
    reason: 'user 7',
  }));
  await eventually(() => expect(lines).toContainEqual(expect.objectContaining({ code: 'BUS_UNAVAILABLE' })));
  expect(lines[0]).toMatchObject({ msg: 'privileges kept', reason: 'user 7' });
  expect(lines.map(({ msg }) => msg)).toEqual(['privileges kept', 'waiting for the bus']);
  await nats.start();
  await service.joined;
  expect(lines.map(({ msg }) => msg)).toContain('bus connected');
  await service.stop();
  await nats.remove();
});
