// SPDX-License-Identifier: Apache-2.0
// The stats service on a real nats-server: what it serves of the reports that it receives, that replicas
// agree, and what it does when services, the bus or scrapers misbehave.
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync } from 'node:fs';
import { connect as connectTo, createServer, type Socket } from 'node:net';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { ServiceStats, ServiceStatus } from '../../../proto/gen/bus.js';
import { sliceOf as keyExchangeSlice } from '../../../services/keyexchange/config.js';
import { startKeyExchange } from '../../../services/keyexchange/service.js';
import type { Bus } from '../../../services/shared/bus/bus.js';
import {
  contracts,
  type EventContract,
  type Service,
  services,
  statsContracts,
} from '../../../services/shared/contracts.js';
import { fromPackageRoot } from '../../../services/shared/process/package_root.js';
import { connectionMs, HttpServer, maxConnections } from '../../../services/stats/adapters/http_server.js';
import { dataplaneReport, keyExchangeReport, plainReport } from '../../core/stats/reports.js';
import { until } from '../../e2e/namespace.js';
import { expectSchema } from '../../json_schema.js';
import { Authority } from '../keyexchange/certificates.js';
import { freePorts, makeFolder } from '../keyexchange/rig.js';
import { freePort, NatsServer } from '../shared/nats_server.js';
import { eventually, longMs } from '../shared/waiting.js';
import { exposed, type Served, startServed } from './rig.js';

let nats: NatsServer;
let operator: Bus;
const speakers = {} as Record<Service, Bus>;
let closing: (() => unknown)[] = [];

beforeAll(async () => {
  nats = await NatsServer.start('a');
  operator = await nats.connect('operator');
  for (const service of services) {
    speakers[service] = await nats.connect(service);
  }
});
afterEach(async () => {
  for (const close of closing.reverse()) await close();
  closing = [];
});
afterAll(async () => {
  await Promise.all([operator, ...Object.values(speakers)].map((bus) => bus.close()));
  await nats.remove();
});

async function served(...args: Parameters<typeof startServed> extends [unknown, ...infer R] ? R : never) {
  const one = await startServed(nats, ...args);
  closing.push(() => one.stop());
  await eventually(() => expect(one.lines).toContainEqual(expect.objectContaining({ msg: 'bus connected' })));
  return one;
}
const say = async (report: ServiceStats): Promise<void> => {
  const service = report.service as Service;
  speakers[service].publish(statsContracts[service], report, report.id);
  await speakers[service].flush();
};
const sayAll = async () => {
  await say(dataplaneReport());
  await say(keyExchangeReport());
  await say(plainReport('sampler'));
};
const seriesOf = async (one: Served) => exposed((await one.get('/metrics')).body).series;
const statusOf = async (): Promise<ServiceStatus[]> =>
  operator.requestAll(contracts.statsStatus, {}, 200, longMs);
const counterOf = async (name: string): Promise<number> => {
  const [status] = await statusOf();
  return Number(status?.counters.find((counter) => counter.name === name)?.value ?? -1n);
};

describe('/metrics', () => {
  it('has the latest report of every service', async () => {
    const one = await served();
    await eventually(async () => {
      // As services do each second: the first report may come before the subscription.
      await sayAll();
      expect(await seriesOf(one)).toHaveProperty('psp_master_key_generation', 4);
    });
    const { type } = await one.get('/metrics');
    expect(type).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(await seriesOf(one)).toMatchObject({
      'psp_pipe_packets_total{pipe="egress_acl",outcome="hit"}': 70,
      'psp_dropped_packets_total{direction="egress",reason="no_peer"}': 5,
      'psp_peer_connected{peer="b",replica="KX1"}': 1,
      'psp_exchange_duration_seconds_bucket{le="+Inf",replica="KX1"}': 4,
      psp_sampling_ratio: 1 / 1024,
      'psp_service_replicas{service="sampler"}': 1,
      process_start_time_seconds: expect.any(Number),
    });
  });

  it('is the same in two replicas that received the same reports, except for their own processes', async () => {
    const [one, other] = [await served(), await served()];
    await say(dataplaneReport({ id: 'OLD', generation: 1 }));
    await say(keyExchangeReport({ id: 'KX2' }));
    await sayAll();
    const node = async (which: Served) =>
      (await which.get('/metrics')).body
        .split('\n')
        .filter((line) => !/process_|service="stats"/.test(line))
        .join('\n');
    await eventually(async () => expect(await node(one)).toContain('psp_master_key_generation 4'));
    await eventually(async () =>
      expect(await node(other)).toContain('psp_service_replicas{service="sampler"} 1'),
    );
    const [here, there] = await Promise.all([node(one), node(other)]);
    expect(here).toContain('replica="KX2"');
    expect(there).toBe(here);
  });

  it('counts the replicas of stats itself, each from the reports of the other', async () => {
    const [one, other] = [await served(), await served()];
    await eventually(async () => {
      for (const each of [one, other]) {
        expect(await seriesOf(each)).toMatchObject({ 'psp_service_replicas{service="stats"}': 2 });
      }
    });
  });

  it("complies with promtool's rules, with reports of real services", async () => {
    const authority = await Authority.create();
    const made = await makeFolder('a', authority, {
      ports: await freePorts('a', 'b'),
      bus: nats.listen,
      password: nats.passwords.keyexchange,
    });
    closing.push(() => rmSync(made.folder, { recursive: true }));
    const exchange = await startKeyExchange(keyExchangeSlice(made.config), pino({ level: 'silent' }));
    closing.push(() => exchange.stop());
    const one = await served();
    await say(dataplaneReport());
    await say(plainReport('sampler'));
    await eventually(async () => {
      expect(Object.keys(await seriesOf(one)).filter((key) => key.startsWith('psp_build_info'))).toHaveLength(
        4,
      );
    });
    const { body } = await one.get('/metrics');
    const told = spawnSync('promtool', ['check', 'metrics'], { input: body, encoding: 'utf8' });
    expect(told.error).toBeUndefined();
    expect(`${told.stdout}${told.stderr}`).toBe('');
    expect(told.status).toBe(0);
    const bad = spawnSync('promtool', ['check', 'metrics'], { input: 'x_total 1\n', encoding: 'utf8' });
    expect(bad.status).not.toBe(0);
  });

  it('is what docs/operations.md documents: names, types, labels, meanings', async () => {
    const one = await served();
    await sayAll();
    await eventually(async () => expect(await seriesOf(one)).toHaveProperty('psp_master_key_generation'));
    await eventually(async () =>
      expect((await one.get('/metrics')).body).toContain('service="stats",version'),
    );
    const { families } = exposed((await one.get('/metrics')).body);
    const told = [
      ...readFileSync(fromPackageRoot('docs/operations.md'), 'utf8').matchAll(
        /^\| `((?:psp|process)_\w+)` \| (\w+) \| (.*?) \| (.*?) \|$/gm,
      ),
    ].map(([, name, type, labels, help]) => ({ name, type, labels, help }));
    const labelled = (labels: Set<string>) => [...labels].map((label) => `\`${label}\``).join(', ') || 'none';
    expect(told).toEqual(
      Object.entries(families).map(([name, { type, help, labels }]) => ({
        name,
        type,
        labels: labelled(labels),
        help,
      })),
    );
  });

  it('has no series of malformed or rejected reports, and counts them', async () => {
    const one = await served();
    const raw: EventContract<unknown> = {
      ...contracts.dataplaneStats,
      payload: { encode: () => ({ finish: () => Buffer.from([0xff, 0xff, 0xff]) }), decode: () => undefined },
    };
    speakers.dataplane.publish(raw, undefined, 'DP1');
    speakers.dataplane.publish(contracts.dataplaneStats, keyExchangeReport(), 'DP1');
    speakers.dataplane.publish(contracts.dataplaneStats, dataplaneReport({ id: 'a b' }), 'DP1');
    const [traffic] = dataplaneReport().traffic;
    if (traffic) await say(dataplaneReport({ traffic: [traffic, { ...traffic, name: 'mallory' }] }));
    await eventually(async () => expect(await counterOf('rowsLeftOut')).toBe(1));
    expect(await counterOf('busMalformed')).toBe(1);
    expect(await counterOf('reportsRejected')).toBe(2);
    const { body } = await one.get('/metrics');
    expect(body).not.toMatch(/mallory|KX1/);
    expect(body).toContain('psp_peer_packets_total{peer="b"');
  });
});

describe('health', () => {
  it('has three pages: always alive, ready once the dataplane reports', async () => {
    const one = await served();
    expect(await one.get('/livez')).toMatchObject({ status: 200, body: 'ok\n' });
    expect(await one.get('/readyz')).toMatchObject({ status: 503, body: 'the dataplane does not report\n' });
    await say(dataplaneReport());
    await eventually(async () => expect((await one.get('/readyz')).status).toBe(200));
    const { status, type, body } = await one.get('/healthz');
    expect([status, type]).toEqual([503, 'application/json; charset=utf-8']);
    const { services, ...node } = JSON.parse(body);
    expect(node).toEqual({ node: 'a', ok: false });
    expect(services.dataplane).toMatchObject({ ok: true, replicas: [{ id: 'DP1', up: true, wrong: [] }] });
    expect(services.sampler).toMatchObject({ ok: false, wrong: [{ part: 'sampler' }], replicas: [] });
    await sayAll();
    await eventually(async () => expect((await one.get('/healthz')).status).toBe(200));
    await say(keyExchangeReport({ health: [{ part: 'peer b', message: 'is down', sinceMs: 77n }] }));
    await eventually(async () => expect((await one.get('/healthz')).status).toBe(503));
    const ill = JSON.parse((await one.get('/healthz')).body);
    expectSchema('healthz', ill);
    expect(ill.services.keyexchange.replicas[0].wrong).toEqual([
      { part: 'peer b', message: 'is down', sinceMs: 77 },
    ]);
  });

  it('turns bad when a service stops reporting, and good when it reports again', async () => {
    const one = await served();
    await sayAll();
    await eventually(async () => expect((await one.get('/readyz')).status).toBe(200));
    await eventually(async () => expect((await one.get('/readyz')).status).toBe(503));
    const { services } = JSON.parse((await one.get('/healthz')).body);
    expect(services.dataplane.wrong[0].message).toMatch(/^dataplane stopped reporting/);
    expect(services.dataplane.wrong[0].sinceMs).toBeLessThan(Date.now() - 4000);
    await say(dataplaneReport());
    await eventually(async () => expect((await one.get('/readyz')).status).toBe(200));
  });
});

describe('the service', () => {
  it('serves its pages before the bus is connected, and while it is lost', async () => {
    const own = await NatsServer.create('a');
    const one = await startServed(own);
    expect((await one.get('/livez')).status).toBe(200);
    expect(await one.get('/readyz')).toMatchObject({ status: 503, body: 'the bus is not connected\n' });
    expect((await one.get('/metrics')).status).toBe(200);
    await eventually(() =>
      expect(one.lines).toContainEqual(expect.objectContaining({ code: 'BUS_UNAVAILABLE' })),
    );
    await own.start();
    const dataplane = await own.connect('dataplane');
    const ready = async () => {
      dataplane.publish(contracts.dataplaneStats, dataplaneReport(), 'DP1');
      expect((await one.get('/readyz')).status).toBe(200);
    };
    await eventually(ready);
    await own.stop();
    await eventually(async () => expect(await one.get('/readyz')).toMatchObject({ status: 503 }));
    expect((await one.get('/metrics')).body).toContain('psp_master_key_generation 4');
    await own.start();
    await eventually(ready);
    await one.stop();
    await dataplane.close();
    await own.remove();
  });

  it('has all reports again a second after its restart, on the same address', async () => {
    const one = await served();
    await sayAll();
    await eventually(async () => expect((await one.get('/readyz')).status).toBe(200));
    await one.stop();
    await expect(one.get('/livez')).rejects.toThrow();
    const again = await served(['b'], one.listen);
    expect(await seriesOf(again)).not.toHaveProperty('psp_master_key_generation');
    await sayAll();
    await eventually(async () =>
      expect(await seriesOf(again)).toHaveProperty('psp_master_key_generation', 4),
    );
  });

  it('answers the services protocol and its status', async () => {
    await served();
    const found = await operator.discover(200, longMs);
    expect(found).toEqual([{ name: 'stats', id: expect.any(String), version: '0.1.0' }]);
    const [status] = await statusOf();
    expect(status).toMatchObject({ node: 'a', id: found[0]?.id, health: [] });
  });

  it('does not start on an address that is in use, and names the key', async () => {
    const one = await served();
    await expect(startServed(nats, ['b'], one.listen)).rejects.toMatchObject({
      code: 'ADDRESS_TAKEN',
      data: { address: one.listen, key: 'metrics.listen' },
    });
    await expect(startServed(nats, ['b'], '192.0.2.77:9464')).rejects.toMatchObject({
      code: 'ADDRESS_UNUSABLE',
      data: { key: 'metrics.listen' },
    });
  });
});

describe('a scraper', () => {
  const port = ({ listen }: Served) => Number(listen.split(':')[1]);
  /** Everything that the server answers to octets, until it closes the connection. */
  async function said(one: Served, octets: string): Promise<string> {
    const socket = connectTo(port(one), '127.0.0.1');
    socket.on('error', () => undefined);
    let heard = '';
    socket.on('data', (chunk) => {
      heard += chunk;
    });
    socket.write(octets);
    await once(socket, 'close');
    return heard;
  }

  it('may request headers alone, and receives the list of pages with a 404', async () => {
    const one = await served();
    const head = await said(one, 'HEAD /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
    expect(head).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(head).toMatch(/content-length: 3\r\n[\s\S]*\r\n\r\n$/);
    expect((await one.get('/livez?x=1')).status).toBe(200);
    expect(await one.get('/other')).toMatchObject({
      status: 404,
      body: 'not found; the pages are /livez, /readyz, /healthz, /metrics\n',
    });
    for (const path of ['/', '/__proto__', '/constructor', '//metrics', '/metrics/']) {
      expect((await one.get(path)).status, path).toBe(404);
    }
    expect(await counterOf('pagesRefused')).toBe(6);
  });

  it('may use no other method, and send no body', async () => {
    const one = await served();
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
      const answer = await fetch(`http://${one.listen}/metrics`, { method });
      expect([answer.status, answer.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
    }
    const body = `GET /livez HTTP/1.1\r\nhost: x\r\ncontent-length: 40\r\n\r\n${'GET /metrics HTTP/1.1\r\n'.repeat(2)}`;
    expect((await said(one, body)).match(/HTTP\/1\.1/g)).toHaveLength(1);
  });

  it('is refused and counted when its headers are too long or invalid', async () => {
    const one = await served();
    expect(await said(one, `GET /livez HTTP/1.1\r\nx: ${'y'.repeat(9000)}\r\n\r\n`)).toMatch(
      /^HTTP\/1\.1 431/,
    );
    expect(await said(one, '\x16\x03\x01 hello\r\n\r\n')).toMatch(/^HTTP\/1\.1 400/);
    expect(await counterOf('requestsMalformed')).toBe(2);
  });

  it('is disconnected when its request takes too long', async () => {
    const one = await served();
    expect(await said(one, 'GET /livez HTTP/1.1\r\nx: ')).toMatch(/^HTTP\/1\.1 408/);
    expect(await counterOf('requestsMalformed')).toBe(1);
  });

  it('is refused beyond the limit of connections, while the others are served', async () => {
    const one = await served();
    const sockets: Socket[] = [];
    for (let i = 0; i < maxConnections; i++) {
      const socket = connectTo(port(one), '127.0.0.1');
      sockets.push(socket);
      await once(socket, 'connect');
    }
    const extra = connectTo(port(one), '127.0.0.1');
    extra.on('error', () => undefined);
    extra.resume();
    await once(extra, 'close');
    await eventually(async () => expect(await counterOf('connectionsRefused')).toBe(1));
    for (const socket of sockets) socket.destroy();
    await eventually(async () => expect((await one.get('/livez')).status).toBe(200));
  });

  it('receives one page for each connection, however many it requests at once', async () => {
    const one = await served();
    const heard = await said(one, 'GET /livez HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(300));
    expect(heard.match(/HTTP\/1\.1 200/g)).toHaveLength(1);
    expect(await counterOf('pagesServed')).toBe(1);
    expect(await counterOf('pagesRefused')).toBe(299);
  });

  it('that does not read its page is disconnected in time', async () => {
    const long = () => ({ status: 200, type: 'text/plain', body: 'x'.repeat(64 * 1024 * 1024) });
    const http = new HttpServer({ '/long': long }, () => undefined);
    const listen = `127.0.0.1:${await freePort()}`;
    await http.listen(listen);
    closing.push(() => http.stop(100));
    const socket = connectTo(Number(listen.split(':')[1]), '127.0.0.1').pause();
    socket.on('error', () => undefined);
    socket.write('GET /long HTTP/1.1\r\nhost: x\r\n\r\n');
    await until('it is overdue', () => http.counters.overdue === 1, 4 * connectionMs);
    socket.destroy();
  });

  it('that requests nothing does not delay the stop of the service', async () => {
    const one = await startServed(nats);
    const socket = connectTo(port(one), '127.0.0.1');
    await once(socket, 'connect');
    socket.on('error', () => undefined);
    let heard = '';
    socket.on('data', (chunk) => {
      heard += chunk;
    });
    socket.write('GET /livez HTTP/1.1\r\n');
    await one.stop();
    // It was disconnected before its deadline for a request (408).
    expect(heard).toBe('');
    const again = createServer().listen(port(one), '127.0.0.1');
    await once(again, 'listening');
    again.close();
  });
});
