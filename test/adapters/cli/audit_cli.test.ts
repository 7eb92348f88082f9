// SPDX-License-Identifier: Apache-2.0
// `psp audit` and `psp audit verify` against a real stream.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { connect } from 'nats';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { run } from '../../../cli/program.js';
import { type AuditData, type AuditType, envelopeOf, tailOf } from '../../../services/shared/audit/event.js';
import { auditContracts, subjectOf } from '../../../services/shared/contracts.js';
import { expectSchema } from '../../json_schema.js';
import { AuditRig, emptySummary } from '../shared/audit_rig.js';

let rig: AuditRig;
let folder: string;
let stdout = '';
let stderr = '';
beforeEach(async () => {
  rig = await AuditRig.start();
  folder = mkdtempSync(join(tmpdir(), 'psp-audit-cli-'));
  rig.operatorFile(folder);
  vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
    stdout += chunk;
    return true;
  });
  vi.spyOn(process.stderr, 'write').mockImplementation((chunk) => {
    stderr += chunk;
    return true;
  });
});
afterEach(async () => {
  vi.restoreAllMocks();
  await rig.end();
  rmSync(folder, { recursive: true });
});

async function psp(...args: string[]): Promise<{ code: number; stdout: string; lines: string[] }> {
  stdout = '';
  stderr = '';
  const code = await run([...args, '-c', join(folder, 'node.yaml')]);
  return { code, stdout, lines: stdout.split('\n').filter((line) => line !== '') };
}

const joined = { count: 2, firstTime: '2026-11-23T10:00:00.000Z', lastTime: '2026-11-23T10:00:01.000Z' };
const tunnel = { local: '10.1.0.1', remote: '10.2.0.1', peer: 'b' };
/** One of each type. */
const examples: { [T in AuditType]: AuditData[T] } = {
  'service.started': { version: '0.1.0', epoch: '0x0123456789abcdef' },
  'service.stopped': { reason: 'asked' },
  'config.loaded': {
    ...emptySummary,
    sha256: 'ab'.repeat(32),
    vips: ['10.1.0.0/24'],
    peers: ['b'],
    vipCount: 1,
    peerCount: 1,
  },
  'config.reloaded': {
    by: 'operator',
    sha256: 'ab'.repeat(32),
    applied: ['peers.c'],
    restartKeys: ['engine.lcores'],
  },
  'config.refused': { by: 'SIGHUP', code: 'CONFIG_INVALID' },
  'tunnel.up': { ...tunnel, spi: '0x80000001', version: 1, asked: 'us' },
  'tunnel.down': { ...tunnel, direction: 'ingress', reason: 'rotationForced' },
  'tunnel.refused': { ...tunnel, by: 'peer', code: 'VIP_NOT_OURS', ...joined },
  'peer.up': { peer: 'b', endpoint: '198.51.100.2:3000', changes: 1 },
  'peer.down': {
    peer: 'b',
    endpoint: '198.51.100.2:3000',
    code: 'PEER_DOWN',
    detail: 'peer b cannot be reached: the peer closed the connection',
    changes: 1,
  },
  'peer.restarted': { peer: 'b', epoch: '0x0123456789abcdef', flows: 12 },
  'peer.unauthorized': { code: 'PEER_UNKNOWN', peer: null, detail: 'certificate x', ...joined },
  'keys.rotated': {
    generation: 2,
    by: 'operator',
    why: 'command',
    peer: null,
    reofferedFlows: 1,
    cutFlows: 0,
  },
  'sampling.changed': { from: null, to: 4, peer: null, by: 'operator' },
  'bypass.configured': { rule: '198.51.100.0/24 udp port 53' },
  'acl.disabled': {},
  'link.changed': { port: 'secured', interface: 'eth1', what: 'mtu', from: 1500, to: 1400 },
  'certificates.reloaded': {
    fingerprint: 'ab'.repeat(32),
    validUntil: '2027-11-23T10:00:00.000Z',
    authorities: ['cd'.repeat(32)],
    revoked: 1,
    refused: 0,
  },
  'certificate.expiring': {
    kind: 'node',
    subject: 'CN=a',
    fingerprint: 'ab'.repeat(32),
    validUntil: '2027-11-23T10:00:00.000Z',
    days: 7,
  },
  'busSecret.replaced': {},
  'audit.lost': { first: 11, last: 12, count: 2, reason: 'streamRolledBack' },
};
const auditTypes = Object.keys(examples) as AuditType[];

/** Writes an event as the dataplane's user, with any number. */
async function forge(incarnation: string, sequence: number, lost?: [number, number]): Promise<void> {
  const connection = await connect({
    servers: rig.nats.listen,
    user: 'dataplane',
    pass: rig.nats.passwords.dataplane,
    inboxPrefix: '_INBOX_dataplane',
  });
  const type = lost ? 'audit.lost' : 'service.stopped';
  const loss = lost && { first: lost[0], last: lost[1], count: 1 + lost[1] - lost[0], reason: 'spoolFull' };
  const producer = { node: 'a', service: 'dataplane', incarnation } as const;
  const json = envelopeOf(producer, sequence, type, (loss ?? { reason: 'asked' }) as never, Date.now());
  const subject = subjectOf('a', auditContracts.dataplane, tailOf({ incarnation, type }));
  await connection.jetstream().publish(subject, json);
  await connection.close();
}

describe('psp audit', () => {
  it('prints every type of event according to its schema, and as lines for people', async () => {
    const producer = await rig.producer('dataplane');
    for (const type of auditTypes) {
      producer.trail.record(type, examples[type]);
      const checked = () => envelopeOf(producer.trail.producer, 1, type, examples[type], 0, true);
      expect(checked).not.toThrow();
    }
    await expect.poll(() => producer.counter('auditPublished')).toBe(auditTypes.length);
    const { code, lines } = await psp('audit', '--json');
    expect([code, stderr]).toEqual([0, '']);
    expect(lines.map((line) => JSON.parse(line).type)).toEqual(auditTypes.map((type) => `psp.${type}`));
    for (const line of lines) expectSchema('audit', JSON.parse(line));
    const text = await psp('audit');
    expect(text.lines[3]).toMatch(
      new RegExp(
        `^\\S+Z dataplane ${producer.incarnation} 4 tunnel.up local=10.1.0.1 remote=10.2.0.1 peer=b spi=0x80000001 version=1 asked=us$`,
      ),
    );
  });

  it('starts where --since says', async () => {
    const producer = await rig.producer('stats');
    producer.record(3);
    await expect.poll(() => producer.counter('auditPublished')).toBe(3);
    await delay(50);
    const instant = new Date().toISOString();
    await delay(50);
    producer.record(2);
    await expect.poll(() => producer.counter('auditPublished')).toBe(5);
    expect((await psp('audit', '--since', instant)).lines).toHaveLength(2);
    expect((await psp('audit', '--since', '1h')).lines).toHaveLength(5);
    expect((await psp('audit', '--since', new Date(Date.now() + 60_000).toISOString())).lines).toEqual([]);
    expect((await psp('audit', '--since', 'yesterday')).code).toBe(2);
  });

  it('follows until it is ended, across a restart of nats-server', async () => {
    const producer = await rig.producer('dataplane');
    producer.record(3);
    const following = psp('audit', '--follow', '--json');
    await expect.poll(() => stdout.split('\n')).toHaveLength(4);
    await rig.nats.stop('SIGKILL');
    await rig.nats.start();
    producer.record(4);
    await expect.poll(() => stdout.split('\n')).toHaveLength(8);
    process.emit('SIGINT');
    const { code, lines } = await following;
    expect(code).toBe(0);
    expect(lines.map((line) => Number(JSON.parse(line).sequence))).toEqual([1, 2, 3, 4, 5, 6, 7]);
  });

  it('prints nothing for an empty stream', async () => {
    expect(await psp('audit')).toEqual({ code: 0, stdout: '', lines: [] });
    expect((await psp('audit', 'verify')).code).toBe(0);
  });
});

describe('psp audit verify', () => {
  it('reports that there is no answer when the audit server hangs', async () => {
    process.kill(rig.nats.pid, 'SIGSTOP');
    try {
      const { code, stdout: printed } = await psp('audit', 'verify');
      expect([code, printed]).toEqual([1, '']);
      expect(stderr).toMatch(
        /^psp: BUS_UNAVAILABLE: .*127\.0\.0\.1:\d+ cannot be reached: timeout; try again later\n$/,
      );
    } finally {
      process.kill(rig.nats.pid, 'SIGCONT');
    }
  });

  it('finds no missing event in a complete stream', async () => {
    const producers = [await rig.producer('dataplane'), await rig.producer('keyexchange')];
    for (const producer of producers) {
      producer.record(300);
      await expect.poll(() => producer.counter('auditPublished')).toBe(300);
    }
    const { code, stdout } = await psp('audit', 'verify', '--json');
    expect(code).toBe(0);
    const told = JSON.parse(stdout);
    expectSchema('audit_verify', told);
    expect(told).toMatchObject({ node: 'a', whole: true, foreign: 0 });
    expect(told.producers.map(({ events, gaps }: { events: number; gaps: [] }) => [events, gaps])).toEqual([
      [300, []],
      [300, []],
    ]);
  });

  it('names gaps, duplicates and numbers out of order, and reports which have a reason', async () => {
    const incarnation = '00000000000000ff';
    for (const n of [1, 2, 5, 9, 7, 7]) await forge(incarnation, n);
    await forge(incarnation, 10, [3, 4]);
    const { code, stdout } = await psp('audit', 'verify', '--json');
    const told = JSON.parse(stdout);
    expectSchema('audit_verify', told);
    expect([code, told.whole]).toEqual([1, false]);
    expect(told.producers).toEqual([
      {
        source: 'psp:/a/dataplane',
        incarnation,
        first: 1,
        last: 10,
        events: 7,
        gaps: [
          { first: 3, last: 4, cause: 'lost' },
          { first: 6, last: 6, cause: 'unexplained' },
          { first: 8, last: 8, cause: 'unexplained' },
        ],
        doubled: [7],
        disordered: [7],
      },
    ]);
    const text = await psp('audit', 'verify');
    expect(text.code).toBe(1);
    expect(text.lines).toContain(`psp:/a/dataplane ${incarnation}: 6 to 6 MISSING`);
    expect(text.lines.at(-1)).toBe('the audit trail is incomplete');
  });

  it('recognizes that a stream at its limit has removed its oldest events', async () => {
    const producer = await rig.producer('dataplane');
    await rig.operator.ensure(100_000);
    producer.record(500);
    await expect.poll(() => producer.counter('auditPublished')).toBe(500);
    const { code, stdout } = await psp('audit', 'verify', '--json');
    const [only] = JSON.parse(stdout).producers;
    expect(code).toBe(0);
    expect(only.gaps).toEqual([{ first: 1, last: only.first - 1, cause: 'streamLimit' }]);
  });

  it('does not accept an event on a subject of another service', async () => {
    const connection = await connect({
      servers: rig.nats.listen,
      user: 'sampler',
      pass: rig.nats.passwords.sampler,
      inboxPrefix: '_INBOX_sampler',
    });
    const incarnation = '00000000000000aa';
    const producer = { node: 'a', service: 'dataplane', incarnation } as const;
    const json = envelopeOf(producer, 1, 'service.stopped', { reason: 'asked' }, Date.now());
    const subject = subjectOf('a', auditContracts.sampler, tailOf({ incarnation, type: 'service.stopped' }));
    await connection.jetstream().publish(subject, json);
    await connection.close();
    const { code, stdout } = await psp('audit', 'verify', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ whole: false, foreign: 1, producers: [] });
    expect(code).toBe(1);
    expect((await psp('audit')).lines).toEqual([]);
  });

  it('shows nothing that controls a terminal, and one line for each event, whatever a service writes', async () => {
    const producer = { node: 'a', service: 'dataplane', incarnation: '00000000000000aa' } as const;
    const version = '\x1b[2J\x9b31m\u202e';
    const json = envelopeOf(producer, 1, 'service.started', { version }, Date.now());
    const tail = tailOf({ ...producer, type: 'service.started' });
    const stream = await rig.nats.stream('dataplane');
    const written = JSON.stringify(JSON.parse(json), undefined, 2);
    await stream.store(subjectOf('a', auditContracts.dataplane, tail), Buffer.from(written), 'x');
    await stream.close();
    const { lines } = await psp('audit');
    expect(lines).toHaveLength(1);
    expect(lines[0]).not.toMatch(/\p{C}/u);
    expect((await psp('audit', '--json')).lines).toEqual([json]);
  });
});
