// SPDX-License-Identifier: Apache-2.0
// The bus with a real nats-server: how a service is affected by invalid messages, failing handlers and server
// failures.
import { once } from 'node:events';
import { connect as connectTo, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { connect, type NatsConnection } from 'nats';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  DataplaneStatus,
  FlowWanted,
  KeyExchangeStatus,
  KeysRotated,
  ServiceStats,
} from '../../../proto/gen/bus.js';
import { Bus, type BusOptions } from '../../../services/shared/bus/bus.js';
import { type BusUser, contracts, subjectOf } from '../../../services/shared/contracts.js';
import { PspError } from '../../../services/shared/errors.js';
import { asService, NatsServer } from './nats_server.js';
import { longMs } from './waiting.js';

let server: NatsServer;
let open: { close(): Promise<void> }[] = [];
beforeEach(async () => {
  server = await NatsServer.start('a');
});
afterEach(async () => {
  await Promise.all(open.map((each) => each.close()));
  open = [];
  await server.remove();
});

async function join(user: BusUser, options: Partial<BusOptions> = {}): Promise<Bus> {
  const bus = await server.connect(user, options);
  open.push(bus);
  return bus;
}
/** The service that answers, ready. */
async function serve(user: 'dataplane' | 'keyexchange', options: Partial<BusOptions> = {}): Promise<Bus> {
  return join(user, { ...asService, ...options });
}
async function raw(user: BusUser): Promise<NatsConnection> {
  const connection = await connect({
    servers: server.listen,
    user,
    pass: server.passwords[user],
    reconnect: false,
  });
  open.push(connection);
  return connection;
}
const wanted = (exchange: bigint) => FlowWanted.create({ exchange, peer: 'b' });
const failure = (work: Promise<unknown>): Promise<PspError> =>
  work.then(
    () => expect.unreachable('it should have failed'),
    (error: unknown) => error as PspError,
  );

describe('events', () => {
  it('that are longer than the server accepts are not sent, counted, and no fault', async () => {
    const stats = await join('stats');
    const keyexchange = await join('keyexchange');
    const heard: string[] = [];
    stats.receive(contracts.keyexchangeStats, ({ id }) => void heard.push(id));
    await stats.flush();
    const health = [{ part: 'peer b', message: 'x'.repeat(1024 * 1024), sinceMs: 0n }];
    const word = (id: string, change: Partial<ServiceStats> = {}) =>
      ServiceStats.fromPartial({ service: 'keyexchange', id, ...change });
    expect(keyexchange.publish(contracts.keyexchangeStats, word('long', { health }), 'long')).toBe(false);
    expect(keyexchange.counters.unsent).toBe(1);
    expect(keyexchange.publish(contracts.keyexchangeStats, word('short'), 'short')).toBe(true);
    await expect.poll(() => heard).toEqual(['short']);
  });

  it('go to one replica each if the row says queue, otherwise to all', async () => {
    const dataplane = await join('dataplane');
    const missed: string[] = [];
    const started: string[] = [];
    for (const replica of ['1', '2']) {
      const keyexchange = await join('keyexchange');
      keyexchange.receive(contracts.flowMissed, () => void missed.push(replica));
      keyexchange.receive(contracts.dataplaneStarted, () => void started.push(replica));
      await keyexchange.flush();
    }
    for (let i = 0n; i < 100n; i++) expect(dataplane.publish(contracts.flowMissed, wanted(i))).toBe(true);
    dataplane.publish(contracts.dataplaneStarted, { epoch: 1n });
    await expect.poll(() => started.sort()).toEqual(['1', '2']);
    await expect.poll(() => missed.length).toBe(100);
    expect(new Set(missed).size).toBe(2);
  });

  it('contain the sender if the row says so', async () => {
    const operator = await join('operator');
    const heard: ServiceStats[] = [];
    operator.receive(contracts.dataplaneStats, (stats) => void heard.push(stats));
    await operator.flush();
    const dataplane = await join('dataplane');
    const stats = ServiceStats.create({
      service: 'dataplane',
      id: 'X1',
      counters: [{ name: 'n', value: 2n ** 60n }],
    });
    dataplane.publish(contracts.dataplaneStats, stats, 'X1');
    await expect.poll(() => heard).toEqual([stats]);
  });

  it('that do not decode are counted and reach no handler', async () => {
    const keyexchange = await join('keyexchange');
    const heard: bigint[] = [];
    keyexchange.receive(contracts.flowMissed, ({ exchange }) => void heard.push(exchange));
    await keyexchange.flush();
    const dataplane = await raw('dataplane');
    dataplane.publish(subjectOf('a', contracts.flowMissed), Uint8Array.of(0x2a, 0x7f, 0x61));
    dataplane.publish(subjectOf('a', contracts.flowMissed), FlowWanted.encode(wanted(7n)).finish());
    await expect.poll(() => heard).toEqual([7n]);
    expect(keyexchange.counters).toEqual({ unsent: 0, overrun: 0, malformed: 1 });
  });

  it('whose handler throws or rejects are reported and do not stop the next', async () => {
    const faults: unknown[] = [];
    const keyexchange = await join('keyexchange', {
      onFault: (subject, error) => faults.push([subject, `${error}`]),
    });
    const heard: bigint[] = [];
    keyexchange.receive(contracts.flowMissed, ({ exchange }) => {
      heard.push(exchange);
      if (exchange === 1n) throw new Error('thrown');
      if (exchange === 2n) return Promise.reject(new Error('rejected'));
      return undefined;
    });
    await keyexchange.flush();
    const dataplane = await join('dataplane');
    for (const exchange of [1n, 2n, 3n]) dataplane.publish(contracts.flowMissed, wanted(exchange));
    await expect.poll(() => heard).toEqual([1n, 2n, 3n]);
    const subject = 'psp.v1.a.evt.flow.missed';
    expect(faults).toEqual([
      [subject, 'Error: thrown'],
      [subject, 'Error: rejected'],
    ]);
  });

  it('beyond 4096 in flight are dropped and counted', async () => {
    const keyexchange = await join('keyexchange');
    let started = 0;
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    keyexchange.receive(contracts.flowMissed, () => {
      started++;
      return held;
    });
    await keyexchange.flush();
    const dataplane = await join('dataplane');
    for (let i = 0n; i < 4196n; i++) dataplane.publish(contracts.flowMissed, wanted(i));
    await expect.poll(() => keyexchange.counters.overrun).toBe(100);
    expect(started).toBe(4096);
    release();
    await delay(10);
    dataplane.publish(contracts.flowMissed, wanted(1n));
    await expect.poll(() => started).toBe(4097);
  });
});

describe('requests', () => {
  it('are answered by the service, and by one replica only', async () => {
    const dataplane = await serve('dataplane');
    dataplane.respond(contracts.keysRotate, () => KeysRotated.create({ generation: 2 }));
    await dataplane.flush();
    const operator = await join('operator');
    expect(await operator.request(contracts.keysRotate, {}, longMs)).toEqual(
      KeysRotated.create({ generation: 2 }),
    );
  });

  it('fail with SERVICE_DOWN at once when no service subscribes to the subject, and with SERVICE_TIMEOUT when none answers', async () => {
    const operator = await join('operator');
    expect((await failure(operator.request(contracts.keysRotate, {}, longMs))).code).toBe('SERVICE_DOWN');
    const dataplane = await serve('dataplane');
    dataplane.respond(contracts.keysRotate, () => new Promise<KeysRotated>(() => undefined));
    await dataplane.flush();
    expect((await failure(operator.request(contracts.keysRotate, {}, 50))).code).toBe('SERVICE_TIMEOUT');
  });

  it('return the code and the message of the PspError that the handler threw', async () => {
    const dataplane = await serve('dataplane');
    dataplane.respond(contracts.keysRotate, () => {
      throw new PspError('ROTATION_PENDING', { unanswered: 3n, ms: 250 });
    });
    await dataplane.flush();
    const error = await failure((await join('operator')).request(contracts.keysRotate, {}, longMs));
    expect(error).toBeInstanceOf(PspError);
    expect(error.code).toBe('ROTATION_PENDING');
    expect(error.message).toContain('3 flows unanswered, 250 ms of drain left');
  });

  it('whose handler has a fault are answered ENGINE_FAILED without its message, and the fault is reported', async () => {
    const faults: string[] = [];
    const dataplane = await serve('dataplane', { onFault: (_, error) => faults.push(`${error}`) });
    dataplane.respond(contracts.keysRotate, () => {
      throw new TypeError('inner words');
    });
    await dataplane.flush();
    const error = await failure((await join('operator')).request(contracts.keysRotate, {}, longMs));
    expect(error.code).toBe('ENGINE_FAILED');
    expect(error.message).not.toContain('inner words');
    expect(faults).toEqual(['TypeError: inner words']);
  });

  it('that do not decode are answered PAYLOAD_INVALID; answers that do not decode are reported as PAYLOAD_INVALID too', async () => {
    const dataplane = await serve('dataplane');
    dataplane.respond(contracts.dataplaneFlows, () => expect.unreachable());
    await dataplane.flush();
    const operator = await raw('operator');
    operator.subscribe('_INBOX_operator.r', {
      callback: (_, message) => answers.push(message.headers?.get('Nats-Service-Error')),
    });
    const answers: unknown[] = [];
    operator.publish(subjectOf('a', contracts.dataplaneFlows), Uint8Array.of(0x0a), {
      reply: '_INBOX_operator.r',
    });
    await expect.poll(() => answers).toEqual(['PAYLOAD_INVALID']);
    expect(dataplane.counters.malformed).toBe(1);

    const liar = await raw('dataplane');
    liar.subscribe(subjectOf('a', contracts.dataplaneStatus), {
      queue: 'dataplane',
      callback: (_, message) => message.respond(Uint8Array.of(0x0a, 0x7f)),
    });
    await liar.flush();
    const error = await failure((await join('operator')).request(contracts.dataplaneStatus, {}, longMs));
    expect(error.code).toBe('PAYLOAD_INVALID');
  });

  it('beyond 4096 in flight are answered OVERLOADED', async () => {
    const dataplane = await serve('dataplane');
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    dataplane.respond(contracts.flowRefuse, async () => {
      await held;
      return { code: '', epoch: 1n };
    });
    await dataplane.flush();
    const keyexchange = await join('keyexchange');
    const message = { exchange: 1n, epoch: 1n, peer: 'b', flows: [], refusal: 'PEER_REFUSED' };
    const outcomes = Array.from({ length: 4100 }, () =>
      keyexchange.request(contracts.flowRefuse, message, longMs).then(
        () => 'answered',
        (error: PspError) => error.code,
      ),
    );
    await expect.poll(() => dataplane.counters.overrun).toBe(4);
    release();
    const codes = await Promise.all(outcomes);
    expect(codes.filter((code) => code === 'OVERLOADED')).toHaveLength(4);
    expect(codes.filter((code) => code === 'answered')).toHaveLength(4096);
  });

  it('to all collect every replica, leave out malformed and refused answers, and return [] when there is no replica', async () => {
    const operator = await join('operator');
    expect(await operator.requestAll(contracts.keyexchangeStatus, {}, 100)).toEqual([]);
    for (const id of ['1', '2', '3']) {
      const replica = await serve('keyexchange');
      replica.respond(contracts.keyexchangeStatus, () => {
        if (id === '3') throw new PspError('OVERLOADED');
        return KeyExchangeStatus.create({ id });
      });
      await replica.flush();
    }
    const liar = await raw('keyexchange');
    liar.subscribe(subjectOf('a', contracts.keyexchangeStatus), {
      callback: (_, message) => message.respond(Uint8Array.of(0x0a, 0x7f)),
    });
    await liar.flush();
    const answers = await operator.requestAll(contracts.keyexchangeStatus, {}, 1500);
    expect(answers.map(({ id }) => id).sort()).toEqual(['1', '2']);
    expect(operator.counters.malformed).toBe(1);
  });
});

describe('discovery', () => {
  it('finds services by the NATS services protocol, with their endpoints and counts', async () => {
    const operator = await join('operator');
    expect(await operator.discover(100)).toEqual([]);
    const service = { description: 'moves packets', version: '0.1.0' };
    const dataplane = await join('dataplane', { service });
    const { id } = dataplane;
    dataplane.respond(contracts.dataplaneStatus, () => DataplaneStatus.create({ node: 'a' }));
    await serve('keyexchange');
    await dataplane.flush();
    const found = await operator.discover(200, longMs, ({ length }) => length === 2);
    expect(found.map(({ name }) => name).sort()).toEqual(['dataplane', 'keyexchange']);
    expect(found).toContainEqual({ name: 'dataplane', id, version: '0.1.0' });
    await operator.request(contracts.dataplaneStatus, {}, longMs);

    const tool = await connect({
      servers: server.listen,
      user: 'operator',
      pass: server.passwords.operator,
      inboxPrefix: '_INBOX_operator',
    });
    open.push(tool);
    const stats = [];
    for await (const each of await tool.services.client().stats('dataplane')) stats.push(each);
    expect(stats[0]?.endpoints).toMatchObject([
      { name: 'query-dataplane-status', subject: 'psp.v1.a.query.dataplane.status', num_requests: 1 },
    ]);
    const info = [];
    for await (const each of await tool.services.client().info('dataplane', id)) info.push(each);
    expect(info).toMatchObject([{ id, description: 'moves packets' }]);
  });
});

describe('a bus that is not connected yet', () => {
  it('sends nothing, counts events, and receives from its first connection on', async () => {
    await server.stop();
    const states: boolean[] = [];
    const { node, listen, passwords } = server;
    const dataplane = new Bus({
      ...asService,
      node,
      server: listen,
      user: 'dataplane',
      password: passwords.dataplane,
      onState: (connected) => states.push(connected),
    });
    open.push(dataplane);
    dataplane.respond(contracts.keysRotate, () => KeysRotated.create({ generation: 7 }));
    expect([dataplane.connected, dataplane.id]).toEqual([false, '']);
    expect(dataplane.publish(contracts.flowMissed, wanted(1n))).toBe(false);
    expect(dataplane.counters.unsent).toBe(1);
    const request = dataplane.request(contracts.sampleEgress, { samples: [] }, longMs);
    expect((await failure(request)).code).toBe('SERVICE_DOWN');
    const connected = dataplane.connect();
    await delay(200);
    expect(states).toEqual([]);
    await server.start();
    await connected;
    await dataplane.flush();
    expect([states, dataplane.id !== '']).toEqual([[true], true]);
    const operator = await join('operator');
    expect((await operator.request(contracts.keysRotate, {}, longMs)).generation).toBe(7);
  });

  it('ends its wait for the server when it is closed', async () => {
    await server.stop();
    const { node, listen, passwords } = server;
    const bus = new Bus({ node, server: listen, user: 'stats', password: passwords.stats });
    const connected = failure(bus.connect());
    await delay(50);
    await bus.close();
    expect((await connected).code).toBe('BUS_UNAVAILABLE');
    await server.start();
  });
});

describe('the connection', () => {
  it('waits for a server that comes later, reporting why once, while a tool fails at once', async () => {
    await server.stop();
    const error = await failure(server.connect('operator', { waitOnFirstConnect: false }));
    expect(error.code).toBe('BUS_UNAVAILABLE');
    expect(error.message).toBe(`the bus at ${server.listen} cannot be reached: connection refused`);
    const reasons: string[] = [];
    const late = join('keyexchange', { onWaiting: ({ message }) => reasons.push(message) });
    await expect.poll(() => reasons).toEqual([error.message]);
    await delay(1000);
    await server.start();
    await (await late).flush();
    expect(reasons).toEqual([error.message]);
  });

  it('reports a wrong password at once to a tool, and to a service that keeps waiting', async () => {
    const error = await failure(server.connect('operator', { password: 'wrong', waitOnFirstConnect: false }));
    expect(error.message).toContain('authorization violation');
    const reasons: PspError[] = [];
    const wait = new AbortController();
    const waiting = failure(
      server.connect('dataplane', {
        password: 'wrong',
        onWaiting: (each) => reasons.push(each),
        signal: wait.signal,
      }),
    );
    await expect.poll(() => reasons.map(({ message }) => message)).toEqual([error.message]);
    wait.abort();
    expect((await waiting).code).toBe('BUS_UNAVAILABLE');
  });

  it('survives a killed server: events are dropped and counted meanwhile, then everything works again', async () => {
    const states: boolean[] = [];
    const dataplane = await serve('dataplane', { onState: (connected) => states.push(connected) });
    dataplane.respond(contracts.keysRotate, () => KeysRotated.create({ generation: 5 }));
    const keyexchange = await serve('keyexchange');
    const operator = await join('operator');
    const heard: bigint[] = [];
    keyexchange.receive(contracts.flowMissed, ({ exchange }) => void heard.push(exchange));
    await keyexchange.flush();
    await server.stop('SIGKILL');
    await expect.poll(() => [dataplane, keyexchange, operator].some((bus) => bus.connected)).toBe(false);
    expect(dataplane.publish(contracts.flowMissed, wanted(1n))).toBe(false);
    expect(dataplane.counters.unsent).toBe(1);
    expect((await failure(operator.request(contracts.keysRotate, {}, longMs))).code).toBe('SERVICE_DOWN');
    expect((await failure(operator.requestAll(contracts.keyexchangeStatus, {}, 100))).code).toBe(
      'SERVICE_DOWN',
    );
    await delay(3000);
    await server.start();
    await expect.poll(() => states).toEqual([true, false, true]);
    await expect.poll(() => operator.connected).toBe(true);
    await expect.poll(() => keyexchange.connected).toBe(true);
    dataplane.publish(contracts.flowMissed, wanted(2n));
    await expect.poll(() => heard).toEqual([2n]);
    expect((await operator.request(contracts.keysRotate, {}, longMs)).generation).toBe(5);
    const found = await operator.discover(200, longMs, ({ length }) => length === 2);
    expect(found.map(({ name }) => name).sort()).toEqual(['dataplane', 'keyexchange']);
  });

  it('detects a server that stopped answering', async () => {
    const dataplane = await join('dataplane');
    process.kill(server.pid, 'SIGSTOP');
    await expect.poll(() => dataplane.connected).toBe(false);
    process.kill(server.pid, 'SIGCONT');
    await expect.poll(() => dataplane.connected).toBe(true);
  });
});

describe('a server that is slow to accept a connection', () => {
  it('is left with one connection, however late another one that was given up is established and ends', async () => {
    const [host, port] = server.listen.split(':');
    const sockets = new Set<Socket>();
    let isSlow = false;
    let late: () => void = () => undefined;
    const slow = createServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
      const meet = () => {
        const far = connectTo(Number(port), host).on('error', () => undefined);
        far.on('close', () => socket.destroy());
        socket.on('close', () => far.destroy());
        socket.pipe(far).pipe(socket);
      };
      if (isSlow) late = meet;
      else meet();
      isSlow = false;
    }).listen(0, '127.0.0.1');
    await once(slow, 'listening');
    const through = `127.0.0.1:${(slow.address() as { port: number }).port}`;
    const states: boolean[] = [];
    const dataplane = await serve('dataplane', {
      server: through,
      onState: (connected) => states.push(connected),
    });
    dataplane.respond(contracts.keysRotate, () => KeysRotated.create({ generation: 5 }));
    await dataplane.flush();
    const operator = await join('operator');
    isSlow = true;
    for (const socket of sockets) socket.destroy();
    await expect.poll(() => states).toEqual([true, false, true]);
    // The server ends a connection that sends nothing.
    late();
    await expect.poll(() => states.slice(0, 4)).toEqual([true, false, true, false]);
    await expect.poll(() => [sockets.size, dataplane.connected]).toEqual([1, true]);
    await dataplane.flush();
    for (let i = 0; i < 30; i++) {
      expect((await operator.request(contracts.keysRotate, {}, longMs)).generation).toBe(5);
    }
    slow.close();
  });
});

describe('close', () => {
  it('lets running handlers answer and accepts no new work', async () => {
    const dataplane = await serve('dataplane');
    let begun = 0;
    dataplane.respond(contracts.keysRotate, async () => {
      begun++;
      await delay(1200);
      return KeysRotated.create({ generation: 9 });
    });
    await dataplane.flush();
    const operator = await join('operator');
    const answer = operator.request(contracts.keysRotate, {}, longMs);
    await expect.poll(() => begun).toBe(1);
    const closing = dataplane.close();
    await delay(300);
    expect((await failure(operator.request(contracts.keysRotate, {}, longMs))).code).toBe('SERVICE_DOWN');
    expect((await answer).generation).toBe(9);
    await closing;
    expect(begun).toBe(1);
    expect(dataplane.publish(contracts.flowMissed, wanted(1n))).toBe(false);
  });

  it('drops and counts what is published from then on', async () => {
    const dataplane = await serve('dataplane');
    let begun = 0;
    const sent: boolean[] = [];
    dataplane.respond(contracts.keysRotate, async () => {
      begun++;
      await delay(50);
      return KeysRotated.create();
    });
    await dataplane.flush();
    const operator = await join('operator');
    const answer = operator.request(contracts.keysRotate, {}, longMs);
    await expect.poll(() => begun).toBe(1);
    const publishing = setInterval(() => sent.push(dataplane.publish(contracts.flowMissed, wanted(1n))), 0);
    const closing = dataplane.close();
    let closed = false;
    void closing.then(() => {
      closed = true;
    });
    while (!closed) {
      sent.push(dataplane.publish(contracts.flowMissed, wanted(1n)));
      await Promise.resolve();
      if (sent.length % 100 === 0) await delay(1);
    }
    clearInterval(publishing);
    await answer;
    sent.push(dataplane.publish(contracts.flowMissed, wanted(1n)));
    expect(sent.at(-1)).toBe(false);
    expect(dataplane.counters.unsent).toBe(sent.filter((each) => !each).length);
  });

  it('sends what was published before it', async () => {
    const keyexchange = await join('keyexchange');
    const heard: bigint[] = [];
    keyexchange.receive(contracts.flowMissed, ({ exchange }) => void heard.push(exchange));
    await keyexchange.flush();
    const dataplane = await join('dataplane');
    for (let i = 0n; i < 1000n; i++) dataplane.publish(contracts.flowMissed, wanted(i));
    await dataplane.close();
    await expect.poll(() => heard.length).toBe(1000);
  });

  it('has a time limit: for a handler, for a silent server, for one that is gone', async () => {
    const stuck = await serve('dataplane');
    let begun = 0;
    let release: () => void = () => undefined;
    stuck.respond(contracts.keysRotate, () => {
      begun++;
      return new Promise<KeysRotated>((resolve) => {
        release = () => resolve(KeysRotated.create());
      });
    });
    await stuck.flush();
    const operator = await join('operator');
    operator.request(contracts.keysRotate, {}, 100).catch(() => undefined);
    await expect.poll(() => begun).toBe(1);
    process.kill(server.pid, 'SIGSTOP');
    const silent = await within(longMs, Promise.all([operator.close(), stuck.close()]));
    process.kill(server.pid, 'SIGCONT');
    expect(silent).toBe(true);
    release();
    await expect.poll(() => stuck.counters.unsent).toBe(1);
    const gone = await join('keyexchange');
    await server.stop('SIGKILL');
    await expect.poll(() => gone.connected).toBe(false);
    expect(await within(longMs, gone.close())).toBe(true);
  });
});

it('waits for a flush no longer than the connection lasts', async () => {
  const bus = await join('keyexchange');
  process.kill(server.pid, 'SIGSTOP');
  const flushed = bus.flush();
  await delay(100);
  await server.stop('SIGKILL');
  await expect(flushed).resolves.toBeUndefined();
});

/** Whether work ended in time. */
async function within(ms: number, work: Promise<unknown>): Promise<boolean> {
  const late = Symbol('late');
  return (await Promise.race([work, delay(ms, late)])) !== late;
}

describe('a server that sends invalid data', () => {
  let impostor: Server | undefined;
  const sockets: Socket[] = [];
  afterEach(async () => {
    for (const socket of sockets) socket.destroy();
    impostor?.close();
  });

  it('is reported as unreachable', async () => {
    impostor = createServer((socket) => {
      sockets.push(socket);
      socket.on('error', () => undefined);
      socket.write('HTTP/1.1 400 Bad Request\r\n\r\n');
    }).listen(0, '127.0.0.1');
    await once(impostor, 'listening');
    const { port } = impostor.address() as { port: number };
    const error = await failure(
      server.connect('operator', { server: `127.0.0.1:${port}`, waitOnFirstConnect: false }),
    );
    expect(error.code).toBe('BUS_UNAVAILABLE');
  });
});
