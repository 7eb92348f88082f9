// SPDX-License-Identifier: Apache-2.0
// Reading the audit stream of a real nats-server whose consumers disappear during the read, as when the server
// removes one that was inactive for long.
import { connect, type JetStreamManager, type NatsConnection } from 'nats';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readEvent } from '../../../services/shared/audit/event.js';
import type { BusConnection } from '../../../services/shared/bus/connection.js';
import type { BusStream } from '../../../services/shared/bus/stream.js';
import { auditStream } from '../../../services/shared/contracts.js';
import { AuditRig, upTo } from './audit_rig.js';

let rig: AuditRig;
let connection: NatsConnection;
let manager: JetStreamManager;
let stream: BusStream;
/** The consumers that received requests for messages, in order. */
let consumers: string[];
/** Requests for messages get lost. */
let isDeaf: boolean;
beforeEach(async () => {
  rig = await AuditRig.start();
  connection = await connect({
    servers: rig.nats.listen,
    user: 'operator',
    pass: rig.nats.passwords.operator,
    inboxPrefix: '_INBOX_operator',
  });
  manager = await connection.jetstreamManager({ checkAPI: false });
  stream = await rig.nats.stream('operator');
  const reading = (stream as unknown as { link: BusConnection }).link.connection as NatsConnection;
  consumers = [];
  isDeaf = false;
  const publish = reading.publish.bind(reading);
  reading.publish = (subject, ...rest) => {
    const [, name] = /^\$JS\.API\.CONSUMER\.MSG\.NEXT\.\w+\.(\w+)$/.exec(subject) ?? [];
    if (name !== undefined && consumers.at(-1) !== name) consumers.push(name);
    if (name === undefined || !isDeaf) publish(subject, ...rest);
  };
});
afterEach(async () => {
  await stream.close();
  await connection.close();
  await rig.end();
});

/** Reads to the end, or this many; the consumer in use is deleted after each of these. */
async function numbers(follow: boolean, count: number, deleteAfter: number[]): Promise<number[]> {
  const told: number[] = [];
  for await (const { octets } of stream.read({ follow }, new AbortController().signal)) {
    told.push(readEvent(octets)?.sequence as number);
    if (told.length === count) break;
    if (deleteAfter.includes(told.length)) {
      await manager.consumers.delete(auditStream, consumers.at(-1) as string);
    }
  }
  return told;
}

describe('a reader of the stream', () => {
  it('with an end reports where it stopped if the server delivers no more', async () => {
    const producer = await rig.producer('dataplane');
    producer.record(300);
    await expect.poll(() => producer.counter('auditPublished')).toBe(300);
    const read: number[] = [];
    const reading = (async () => {
      for await (const { place } of stream.read({ follow: false }, new AbortController().signal)) {
        read.push(place);
        isDeaf = true;
      }
    })();
    await expect(reading).rejects.toMatchObject({
      code: 'STREAM_UNAVAILABLE',
      message: expect.stringMatching(/it delivers nothing from message 257 on, although 44 follow/),
    });
    expect(read).toEqual(upTo(256));
  });

  it('reads on to the end when its consumer disappears between two fetches', async () => {
    const producer = await rig.producer('dataplane');
    producer.record(600);
    await expect.poll(() => producer.counter('auditPublished')).toBe(600);
    expect(await numbers(false, 1000, [1, 300])).toEqual(upTo(600));
    expect(consumers).toHaveLength(3);
  });

  it('continues with new messages when its consumer disappears while it waits', async () => {
    const producer = await rig.producer('dataplane');
    producer.record(3);
    const following = numbers(true, 5, [3]);
    await expect.poll(() => consumers, { timeout: 10_000 }).toHaveLength(2);
    producer.record(2);
    expect(await following).toEqual(upTo(5));
  });
});
