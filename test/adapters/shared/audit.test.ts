// SPDX-License-Identifier: Apache-2.0
// Audit events on a real nats-server with JetStream: each is stored once and in order, whatever fails meanwhile.
import { execFileSync } from 'node:child_process';
import { appendFileSync, cpSync, existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { connect, nanos } from 'nats';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Leftover, Leftovers } from '../../../services/shared/audit/leftovers.js';
import type { StreamDoor } from '../../../services/shared/audit/publisher.js';
import { auditStream } from '../../../services/shared/contracts.js';
import { AuditRig, type Producer, upTo } from './audit_rig.js';
import { streamBytes } from './nats_server.js';

let rig: AuditRig;
beforeEach(async () => {
  rig = await AuditRig.start();
});
afterEach(() => rig.end());

describe('the audit', () => {
  it('publishes events to the stream in order, as CloudEvents of their producer', async () => {
    const producer = await rig.producer('dataplane');
    producer.record(500);
    await expect.poll(() => producer.counter('auditPublished')).toBe(500);
    const events = await rig.events();
    expect(events.map(({ sequence }) => sequence)).toEqual(upTo(500));
    expect(events[41]).toMatchObject({
      id: `${producer.incarnation}-42`,
      source: 'psp:/a/dataplane',
      type: 'keys.rotated',
      incarnation: producer.incarnation,
      data: { generation: 42, by: 'operator' },
    });
    expect(producer.counter('auditBacklog')).toBe(0);
    expect(producer.trail.health()).toEqual([]);
  });

  it('waits for a bus and a stream that do not exist yet', async () => {
    await rig.nats.stop('SIGKILL');
    rmSync(rig.nats.streamFolder, { recursive: true });
    const producer = await rig.producer('stats', { onBus: false });
    producer.record(20);
    await producer.trail.flush();
    expect(producer.counter('auditRecorded')).toBe(20);
    await rig.nats.start({ stream: false });
    await producer.join();
    await delay(400);
    expect(producer.counter('auditPublished')).toBe(0);
    await expect.poll(() => rig.operator.connected).toBe(true);
    await rig.operator.ensure(streamBytes);
    await expect.poll(() => rig.numbers(producer)).toEqual(upTo(20));
  });

  it('sends the stream no request before it stores the first event: it may be in creation', async () => {
    const calls: string[] = [];
    const stream: StreamDoor = {
      store: async (_subject, _octets, id) => (calls.push(id) > 2 ? calls.length : undefined),
      last: async () => void calls.push('last'),
      at: async () => void calls.push('at'),
    };
    const producer = await rig.producer('stats', { onBus: false, stream });
    producer.record(3);
    producer.trail.streamState(true);
    await expect.poll(() => producer.counter('auditPublished')).toBe(3);
    const id = (sequence: number) => `${producer.incarnation}-${sequence}`;
    expect(calls).toEqual([id(1), id(1), id(1), id(2), id(3)]);
    producer.trail.streamState(false);
    producer.trail.streamState(true);
    await expect.poll(() => calls.slice(5)).toContain('last');
  });

  it('loses and duplicates nothing while nats-server is killed 20 times under two producers', async () => {
    const producers = [await rig.producer('dataplane'), await rig.producer('keyexchange')];
    let going = true;
    const stream = (async () => {
      for (let n = 0; going; n++) {
        for (const producer of producers) producer.record(1 + (n % 7));
        await delay(5);
      }
    })();
    for (let kill = 0; kill < 20; kill++) {
      await delay(100 + 17 * kill);
      await rig.nats.stop('SIGKILL');
      await rig.nats.start({ stream: false });
    }
    going = false;
    await stream;
    for (const producer of producers) {
      await producer.trail.flush();
      await expect.poll(() => producer.counter('auditBacklog')).toBe(0);
      const recorded = producer.counter('auditRecorded');
      expect(recorded).toBeGreaterThan(200);
      expect(await rig.numbers(producer)).toEqual(upTo(recorded));
    }
  });

  it('fills a stream again that was rolled back', async () => {
    const producer = await rig.producer('dataplane');
    producer.record(30);
    await expect.poll(() => producer.counter('auditPublished')).toBe(30);
    await rig.nats.stop('SIGKILL');
    cpSync(rig.nats.streamFolder, `${rig.nats.streamFolder}.old`, { recursive: true });
    await rig.nats.start();
    producer.record(50);
    await expect.poll(() => producer.counter('auditPublished')).toBe(80);
    await rig.nats.stop('SIGKILL');
    rmSync(rig.nats.streamFolder, { recursive: true });
    cpSync(`${rig.nats.streamFolder}.old`, rig.nats.streamFolder, { recursive: true });
    await rig.nats.start();
    await expect.poll(() => rig.numbers(producer).catch(() => [])).toEqual(upTo(80));
  });

  it('does not take a stream that removed its oldest messages for one that was rolled back', async () => {
    const idle = await rig.producer('stats');
    const busy = await rig.producer('dataplane', { spoolBytes: 16 * 1024 * 1024 });
    idle.record(3);
    await expect.poll(() => idle.counter('auditPublished')).toBe(3);
    await rig.operator.ensure(100_000);
    busy.record(500);
    await expect.poll(() => busy.counter('auditPublished')).toBe(500);
    expect(await rig.numbers(idle)).toEqual([]);
    await rig.nats.stop('SIGKILL');
    await rig.nats.start();
    busy.record(1);
    await expect.poll(() => busy.counter('auditPublished')).toBe(501);
    await delay(200);
    expect(await rig.numbers(idle)).toEqual([]);
    expect(idle.counter('auditPublished')).toBe(3);
  });

  it('reports exactly what is missing after its spool was full, and only once', async () => {
    await rig.nats.stop('SIGKILL');
    const producer = await rig.producer('sampler', { onBus: false, spoolBytes: 65_536, keepMs: 0 });
    for (let i = 0; i < 50; i++) {
      producer.record(10);
      await producer.trail.flush();
    }
    const lost = producer.counter('auditLost');
    const kept = producer.counter('auditRecorded');
    expect(lost).toBeGreaterThan(100);
    expect(kept + lost).toBe(500);
    expect(producer.spoolTroubles()).toEqual([expect.stringContaining(`lost since number ${kept + 1}`)]);
    await rig.nats.start();
    await producer.join();
    await expect.poll(() => producer.counter('auditRecorded')).toBe(kept + 1);
    producer.record(1);
    await expect.poll(() => rig.numbers(producer)).toEqual([...upTo(kept), 501, 502]);
    const events = await rig.events();
    expect(events.filter(({ type }) => type === 'audit.lost').map(({ data }) => data)).toEqual([
      { first: kept + 1, last: 500, count: lost, reason: 'spoolFull' },
    ]);
    expect(producer.trail.health()).toEqual([]);
  });
});

describe('a disk without space', () => {
  it('costs the events that it does not accept, which are reported once it accepts some again', async () => {
    const folder = rig.folder('stats');
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=128k', 'tmpfs', folder]);
    try {
      const ballast = join(folder, 'ballast');
      const producer = await rig.producer('stats', { onBus: false });
      producer.record(3);
      await producer.trail.flush();
      try {
        writeFileSync(ballast, Buffer.alloc(256 * 1024));
      } catch {
        // As much as fits.
      }
      producer.record(50);
      await expect.poll(() => producer.counter('auditLost')).toBeGreaterThan(0);
      expect(producer.spoolTroubles()).toContainEqual(expect.stringContaining('ENOSPC'));
      rmSync(ballast);
      await expect.poll(() => producer.spoolTroubles()).toEqual([]);
      const lost = producer.counter('auditLost');
      await producer.join();
      await expect.poll(() => producer.counter('auditBacklog')).toBe(0);
      const kept = 53 - lost;
      expect(await rig.numbers(producer)).toEqual([...upTo(kept), 54]);
      const told = (await rig.events()).find(({ type }) => type === 'audit.lost');
      expect(told?.data).toMatchObject({ first: kept + 1, last: 53, count: lost });
      await producer.leave();
    } finally {
      execFileSync('umount', ['-l', folder]);
    }
  });
});

describe('a disk that is full already', () => {
  it('keeps no service from starting, and lost events are reported once there is space', async () => {
    const folder = rig.folder('stats');
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder]);
    try {
      const ballast = join(folder, 'ballast');
      try {
        writeFileSync(ballast, Buffer.alloc(256 * 1024));
      } catch {
        // As much as fits.
      }
      const producer = await rig.producer('stats');
      producer.record(3);
      await expect.poll(() => producer.counter('auditLost')).toBe(3);
      expect(producer.trail.health()).not.toEqual([]);
      rmSync(ballast);
      await expect.poll(() => rig.numbers(producer)).toEqual([4]);
      expect((await rig.events()).map(({ data }) => data)).toEqual([
        { first: 1, last: 3, count: 3, reason: 'spoolFull' },
      ]);
      producer.record(2);
      await expect.poll(() => rig.numbers(producer)).toEqual([4, 5, 6]);
      await producer.leave();
    } finally {
      execFileSync('umount', ['-l', folder]);
    }
  });
});

describe('the files that a process leaves', () => {
  /** Ends a producer as SIGKILL would: nothing is reported or released. */
  const crash = async (service: 'dataplane' | 'keyexchange', count: number, spoolBytes = 1024 * 1024) => {
    const producer = await rig.producer(service, { onBus: false, tendMs: 3_600_000, spoolBytes });
    producer.record(count);
    await producer.trail.flush();
    return producer;
  };

  it('are published by the next one, which then removes them', async () => {
    const dead = await crash('dataplane', 40);
    const next = await rig.producer('dataplane', { keepMs: 300 });
    next.record(2);
    await expect.poll(() => rig.numbers(dead)).toEqual(upTo(40));
    await expect.poll(() => readdirSync(rig.folder('dataplane'))).toEqual([next.incarnation]);
    expect(await rig.numbers(next)).toEqual([1, 2]);
  });

  it('are published from the first event that the stream does not have', async () => {
    const dead = await rig.producer('dataplane', { tendMs: 3_600_000 });
    dead.record(10);
    await expect.poll(() => dead.counter('auditPublished')).toBe(10);
    dead.trail.streamState(false);
    dead.record(5);
    await dead.trail.flush();
    await rig.producer('dataplane');
    await expect.poll(() => rig.numbers(dead)).toEqual(upTo(15));
  });

  it('end at an incomplete line', async () => {
    const dead = await crash('dataplane', 10);
    const folder = join(rig.folder('dataplane'), dead.incarnation);
    appendFileSync(join(folder, '0000000001.log'), 'deadbeef {"id":"half an ev');
    await rig.producer('dataplane');
    await expect.poll(() => rig.numbers(dead)).toEqual(upTo(10));
  });

  it('include the loss that it did not live to report', async () => {
    const dead = await crash('dataplane', 500, 65_536);
    const kept = dead.counter('auditRecorded');
    await rig.producer('dataplane', { spoolBytes: 1024 * 1024 });
    await expect.poll(() => rig.numbers(dead)).toEqual([...upTo(kept), 501]);
    expect((await rig.events()).find(({ type }) => type === 'audit.lost')?.data).toMatchObject({
      first: kept + 1,
      last: 500,
    });
  });

  it('are taken at once after an orderly end, and otherwise only when the producer is silent', async () => {
    const orderly = await rig.producer('keyexchange', { onBus: false });
    orderly.record(3);
    await orderly.leave();
    const alive = await rig.producer('keyexchange', { onBus: false });
    alive.record(4);
    const next = await rig.producer('keyexchange', { silentMs: 60_000 });
    await expect.poll(() => rig.numbers(orderly)).toEqual(upTo(3));
    await delay(1200);
    expect(await rig.numbers(alive)).toEqual([]);
    await alive.join();
    await expect.poll(() => rig.numbers(alive)).toEqual(upTo(4));
    expect(existsSync(join(rig.folder('keyexchange'), next.incarnation))).toBe(true);
  });

  it('are returned to a producer that was only slow', async () => {
    const slow = await rig.producer('keyexchange', { tendMs: 1500 });
    const taker = await rig.producer('keyexchange', { tendMs: 50, silentMs: 200 });
    slow.record(5);
    await delay(2500);
    slow.record(5);
    await expect.poll(() => rig.numbers(slow)).toEqual(upTo(10));
    taker.record(1);
    await expect.poll(() => rig.numbers(taker)).toEqual([1]);
  });

  it('are published although another folder cannot be taken, which is reported', async () => {
    const dead = await crash('dataplane', 5);
    writeFileSync(join(rig.folder('dataplane'), '0000000000000000'), 'no folder');
    const next = await rig.producer('dataplane');
    await expect.poll(() => rig.numbers(dead)).toEqual(upTo(5));
    const told = expect.stringMatching(/cannot be taken over: .*0000000000000000 \(ENOTDIR\)/);
    await expect.poll(() => next.trail.health().map(({ message }) => message)).toEqual([told]);
  });

  it('are not removed for lack of space while their producer continues', async () => {
    const folder = rig.folder('stats');
    const slow = await rig.producer('stats', { onBus: false, tendMs: 3_600_000 });
    slow.record(3);
    await slow.trail.flush();
    const taken: Leftover[] = [];
    const leftovers = new Leftovers({
      folder,
      incarnation: 'f'.repeat(16),
      silentMs: 0,
      keepMs: 60_000,
      lossEvent: () => '',
      monotonicMs: () => performance.now(),
      unixMs: () => Date.now(),
      onTaken: (leftover) => taken.push(leftover),
      onLeft: () => undefined,
      onRetaken: async () => undefined,
    });
    await leftovers.begin();
    await leftovers.tend(true);
    await leftovers.tend(true);
    taken[0]?.confirm(3);
    slow.record(2);
    await slow.trail.flush();
    await leftovers.makeSpace();
    await slow.join();
    await expect.poll(() => rig.numbers(slow)).toEqual(upTo(5));
  });
});

describe('a node that was renamed', () => {
  const forgetIds = async () => {
    const { listen: servers, passwords } = rig.nats;
    const login = { user: 'operator', pass: passwords.operator, inboxPrefix: '_INBOX_operator' };
    const connection = await connect({ servers, ...login });
    const { streams } = await connection.jetstreamManager({ checkAPI: false });
    const { config } = await streams.info(auditStream);
    await streams.update(auditStream, { ...config, duplicate_window: nanos(100) });
    await connection.close();
    await delay(300);
  };

  it('continues after the events of its old name, and each event keeps its source and its number', async () => {
    const done = await rig.producer('dataplane', { tendMs: 3_600_000 });
    done.record(10);
    await expect.poll(() => done.counter('auditPublished')).toBe(10);
    done.trail.streamState(false);
    done.record(5);
    await done.trail.flush();
    const lossy = await rig.producer('keyexchange', { onBus: false, tendMs: 3_600_000, spoolBytes: 65_536 });
    lossy.record(500);
    await lossy.trail.flush();
    const kept = lossy.counter('auditRecorded');
    expect(kept).toBeLessThan(500);

    // The stream forgets message ids, as it does by itself after two minutes.
    await forgetIds();
    await rig.rename('b');
    const next = await rig.producer('dataplane');
    await rig.producer('keyexchange');
    next.record(3);
    await expect.poll(() => rig.numbers(next)).toEqual([1, 2, 3]);
    await expect.poll(() => rig.numbers(done)).toEqual(upTo(15));
    await expect.poll(() => rig.numbers(lossy)).toEqual([...upTo(kept), 501]);
    const sources = (await rig.events()).map(({ source, incarnation }) => `${incarnation} ${source}`);
    expect(new Set(sources)).toEqual(
      new Set([
        `${done.incarnation} psp:/a/dataplane`,
        `${lossy.incarnation} psp:/a/keyexchange`,
        `${next.incarnation} psp:/b/dataplane`,
      ]),
    );
  });
});

describe('a disk that disappears', () => {
  /** Numbers in the stream, those reported by an audit.lost, and those that are unaccounted for. */
  const account = async (producer: Producer) => {
    const own = (await rig.events()).filter(({ incarnation }) => incarnation === producer.incarnation);
    const there = new Set(own.map(({ sequence }) => sequence));
    const losses = own.filter(({ type }) => type === 'audit.lost');
    const told = new Set(losses.flatMap(({ data }) => upTo(Number(data.last), Number(data.first))));
    const all = upTo(Math.max(0, ...there));
    const missing = all.filter((sequence) => !there.has(sequence) && !told.has(sequence));
    return { there, told, missing, reasons: new Set(losses.map(({ data }) => data.reason)) };
  };
  /** Removes the disk once these events are on it, and records until an event is on the disk below. */
  const loseDisk = async (producer: Producer, folder: string) => {
    execFileSync('umount', ['-l', folder]);
    const own = join(folder, producer.incarnation);
    await expect.poll(() => existsSync(join(own, 'owner'))).toBe(true);
    await expect
      .poll(() => {
        producer.record();
        return readdirSync(own).some((name) => name.endsWith('.log'));
      })
      .toBe(true);
    await producer.trail.flush();
  };

  it('costs the events that were only there, which is reported once there is a folder again', async () => {
    const folder = rig.folder('stats');
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', folder]);
    const producer = await rig.producer('stats', { onBus: false });
    producer.record(5);
    await producer.trail.flush();
    await loseDisk(producer, folder);
    await producer.join();
    await expect.poll(async () => (await account(producer)).told.has(5)).toBe(true);
    await expect.poll(() => producer.counter('auditBacklog')).toBe(0);
    const { there, told, missing, reasons } = await account(producer);
    expect([missing, [...reasons]]).toEqual([[], ['spoolGone']]);
    expect(upTo(5).every((sequence) => told.has(sequence) && !there.has(sequence))).toBe(true);
    expect(producer.counter('auditLost')).toBe(told.size);
    await expect.poll(() => producer.trail.health()).toEqual([]);
  });

  it('costs nothing that the stream has', async () => {
    const folder = rig.folder('stats');
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', folder]);
    const producer = await rig.producer('stats');
    producer.record(5);
    await expect.poll(() => producer.counter('auditPublished')).toBe(5);
    await loseDisk(producer, folder);
    await expect.poll(() => producer.counter('auditBacklog')).toBe(0);
    const { there, told, missing } = await account(producer);
    expect(missing).toEqual([]);
    expect(upTo(5).every((sequence) => there.has(sequence) && !told.has(sequence))).toBe(true);
  });
});

describe('a disk that hangs', () => {
  it('delays no one, and keeps the events recorded meanwhile', async ({ skip }) => {
    const folder = rig.folder('stats');
    const image = join(tmpdir(), `psp-hangs-${process.pid}`);
    try {
      execFileSync('truncate', ['-s', '16M', image]);
      execFileSync('mkfs.ext4', ['-q', image]);
      execFileSync('mount', ['-o', 'loop', image, folder]);
      execFileSync('fsfreeze', ['--version']);
    } catch {
      rmSync(image, { force: true });
      skip('this machine has no loop device, or no ext4 or fsfreeze');
    }
    try {
      const producer = await rig.producer('stats');
      producer.record(3);
      await expect.poll(() => producer.counter('auditPublished')).toBe(3);
      execFileSync('fsfreeze', ['-f', folder]);
      try {
        producer.record(4);
        await expect
          .poll(() => producer.trail.health().map(({ message }) => message))
          .toContainEqual(expect.stringContaining('does not answer'));
        // It does not block every thread: others can still access their files.
        await lstat(image);
        expect(producer.counter('auditPublished')).toBe(3);
      } finally {
        execFileSync('fsfreeze', ['-u', folder]);
      }
      await expect.poll(() => rig.numbers(producer)).toEqual(upTo(7));
      await expect.poll(() => producer.trail.health()).toEqual([]);
      await producer.leave();
    } finally {
      execFileSync('umount', ['-l', folder]);
      rmSync(image);
    }
  });
});
