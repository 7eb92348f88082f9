// SPDX-License-Identifier: Apache-2.0
// Monitoring of two real nodes: the fast path and the absence of losses in numbers, two stats replicas that agree, a
// peer that is idle and one that is down, and pages that come back with their service.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadAddon } from '../../native/addon/load.js';
import { commonCounters, ownCounters } from '../../services/shared/counter_help.js';
import { isErrorCode } from '../../services/shared/errors.js';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { specCounters } from '../../services/shared/spec_counters.js';
import { expectSchema } from '../json_schema.js';
import { ended, signal, until } from './namespace.js';
import { type Page, page, series } from './pages.js';
import { Topology } from './topology.js';
import { ping } from './traffic.js';

const first = '127.0.0.1:9464';
const second = '127.0.0.1:9465';
let net: Topology;

beforeAll(async () => {
  net = await Topology.create();
  await net.start();
});
afterAll(() => net?.close());

const startingWith = (values: Record<string, number>, start: string): number | undefined =>
  Object.entries(values).find(([key]) => key.startsWith(start))?.[1];
const connected = async () => startingWith(await series(net.a), 'psp_peer_connected{peer="b"');

describe('monitoring', () => {
  it('finds an idle node healthy, its peer connected although no packet was ever sent to it', async () => {
    const health = await until('all is well', async () => {
      const answer = await page(net.a, '/healthz');
      return answer?.status === 200 && answer;
    });
    expectSchema('healthz', JSON.parse(health.body));
    expect((await page(net.a, '/readyz'))?.status).toBe(200);
    expect(await connected()).toBe(1);
    const values = await series(net.a);
    expect(startingWith(values, 'psp_peer_last_packet_timestamp_seconds')).toBeUndefined();
    expect(values['psp_service_events_total{service="dataplane",name="forwardedEgress"}']).toBe(0);
  });

  it('shows the fast path: hits, no drops of the sent packets, the last packets, the duration of the exchange', async () => {
    const packets = 20;
    const beforeSeconds = Date.now() / 1000;
    const sent = await ping(net.host1.namespace, net.host2.v4, { count: packets, intervalMs: 20 });
    expect(sent.received).toBe(packets);
    // Each service reports once a second, at different moments.
    const values = await until('the words of that second came', async () => {
      const now = await series(net.a);
      const hits = (pipe: string) => now[`psp_pipe_packets_total{pipe="${pipe}",outcome="hit"}`] ?? 0;
      const exchanges = startingWith(now, 'psp_exchange_duration_seconds_count');
      return hits('egress_acl') >= packets && hits('ingress_acl') >= packets && exchanges === 1 && now;
    });
    expect(values['psp_peer_packets_total{peer="b",direction="egress"}']).toBeGreaterThanOrEqual(packets);
    expect(values['psp_peer_flows{peer="b",direction="egress"}']).toBe(1);
    for (const direction of ['egress', 'ingress']) {
      const last = values[`psp_peer_last_packet_timestamp_seconds{peer="b",direction="${direction}"}`];
      expect(last).toBeGreaterThan(beforeSeconds - 1);
      expect(last).toBeLessThan(Date.now() / 1000 + 1);
    }
    expect(values['psp_peer_last_key_timestamp_seconds{peer="b"}']).toBeGreaterThan(beforeSeconds - 1);
    expect(values['psp_dropped_packets_total{direction="egress",reason="no_answer"}']).toBe(0);
    await until('the peer counts its answer', async () => {
      return startingWith(await series(net.b), 'psp_answer_duration_seconds_count') === 1;
    });
    expect(startingWith(values, 'psp_service_events_total{service="stats",name="rowsLeftOut"')).toBe(0);
  });

  it('has exactly the counters and gauges that are documented, and error codes that occurred', async () => {
    const { body } = (await page(net.a, '/metrics')) as Page;
    const rows = [...body.matchAll(/^psp_service_(?:events_total|level)\{service="(\w+)",name="(\w+)"/gm)];
    const isPlain = (name: string) => specCounters.every(({ counter }) => counter !== name);
    const engine = loadAddon().values.map(({ name }) => name);
    for (const [service, own] of Object.entries(ownCounters)) {
      const reported = rows.flatMap(([, from, name]) => (from === service ? [name as string] : []));
      const named = [...Object.keys(own), ...Object.keys(commonCounters)];
      const documented = [...named, ...(service === 'dataplane' ? engine : [])].filter(isPlain);
      expect(reported.filter((name) => !isErrorCode(name)).sort()).toEqual(documented.sort());
    }
  });

  it("passes promtool's rules", async () => {
    const { body } = (await page(net.a, '/metrics')) as Page;
    const told = spawnSync('promtool', ['check', 'metrics'], { input: body, encoding: 'utf8' });
    expect([told.status, `${told.stdout}${told.stderr}`]).toEqual([0, '']);
  });

  it('gets the same values from two stats replicas', async () => {
    const main = fromPackageRoot('dist/services/stats/main.js');
    const other = net.a.namespace.spawn(
      'env',
      [`PSP_METRICS_LISTEN=${second}`, process.execPath, main, '--config', join(net.a.files, 'node.yaml')],
      'ignore',
    );
    const node = (values: Record<string, number>) =>
      Object.entries(values).filter(([key]) => !/^process_|service="stats"/.test(key));
    await until('both replicas have the reports of both and agree', async () => {
      const [here, there] = await Promise.all([series(net.a, first), series(net.a, second)]);
      const replicas = 'psp_service_replicas{service="stats"}';
      if (here[replicas] !== 2 || there[replicas] !== 2) return false;
      return JSON.stringify(node(here)) === JSON.stringify(node(there)) && node(here).length > 100;
    });
    const gone = ended(other);
    for (const pid of net.a.namespace.processes()) {
      const command = net.a.namespace.run('cat', `/proc/${pid}/environ`);
      if (command.includes(`PSP_METRICS_LISTEN=${second}`)) signal(pid, 'SIGTERM');
    }
    await gone;
    expect(other.exitCode).toBe(0);
  });

  it('gets its pages back when the service dies', async () => {
    net.a.kill('stats');
    await until(
      'it is restarted and knows the node again',
      async () => (await page(net.a, '/readyz'))?.status === 200,
    );
    // Each service reports once a second: the report of the link may arrive after those that make the node ready.
    await until('it knows the link again', async () => (await connected()) === 1);
  });

  it('shows that a peer is down within seconds, and that it is back', async () => {
    await net.b.stop();
    await until('the peer counts as down', async () => (await connected()) === 0);
    const health = JSON.parse((await page(net.a, '/healthz'))?.body ?? '');
    expect(health.ok).toBe(false);
    expect(JSON.stringify(health.services.keyexchange)).toContain('"part":"peer b"');
    expect((await page(net.a, '/readyz'))?.status).toBe(200);
    expect((await net.a.psp('status')).stdout).toMatch(/^! peer b \(for \d+ s\): no connection to /);
    const fault = async () => {
      const told = JSON.parse((await net.a.psp('status', '--json')).stdout);
      const [only] = told.health.filter(({ part }: { part: string }) => part === 'peer b');
      return { ...only, breaker: told.keyExchange[0].peers[0].breaker };
    };
    const idle = await fault();
    expect(idle).toMatchObject({ breaker: 'closed', message: expect.stringContaining('no connection to ') });
    let host = 100;
    await until('exchanges fail, too', async () => {
      // A flow that has no key yet.
      await ping(net.host1.namespace, `10.2.0.${host++}`, { waitS: 1 });
      return (await fault()).breaker !== 'closed';
    });
    // Traffic does not reset the start time of the fault.
    expect((await fault()).sinceMs).toBe(idle.sinceMs);
    await net.b.start();
    await until('the peer counts as connected', async () => (await connected()) === 1);
    const logged = net.a.log().split('\n');
    const line = (text: string) => logged.filter((each) => each.includes(`"msg":"${text}"`)).at(-1) ?? '';
    expect(line('peer not connected')).toMatch(
      /"peer":"b".*"code":"PEER_DOWN".*"err":"peer b cannot be reached: /,
    );
    expect(line('peer connected')).toContain('"peer":"b"');
    const events = await until('the audit has both', async () => {
      const { stdout } = await net.a.psp('audit', '--json');
      const all = stdout
        .trim()
        .split('\n')
        .map((each) => JSON.parse(each));
      const links = all.filter(({ type }) => /^psp\.peer\.(up|down)$/.test(type));
      return links.at(-1)?.type === 'psp.peer.up' && links.length >= 3 && links;
    });
    const endpoint = '198.51.100.2:3000';
    expect(events.slice(-2).map(({ type, data }) => [type, data])).toEqual([
      ['psp.peer.down', { peer: 'b', endpoint, code: 'PEER_DOWN', detail: expect.any(String), changes: 1 }],
      ['psp.peer.up', { peer: 'b', endpoint, changes: 1 }],
    ]);
  });
});
