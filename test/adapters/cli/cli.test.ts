// SPDX-License-Identifier: Apache-2.0
// The commands for a running node, over a real nats-server, with answers that the test gives in place of the
// services: their output, as text and JSON, and their exit codes.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { checkMachine } from '../../../cli/node/machine.js';
import { createProgram, defineCommand, run } from '../../../cli/program.js';
import { loadAddon } from '../../../native/addon/load.js';
import {
  DataplaneStatus,
  type FlowRemove,
  type FlowRemoved,
  FlowRow,
  type FlowsPage,
  type FlowsQuery,
  KeyExchangeStatus,
  type KeysRotate,
  KeysRotated,
  Mode,
  PeerTraffic,
  type SamplingSet,
  type SamplingState,
  ServiceStatus,
} from '../../../proto/gen/bus.js';
import { parseAddress } from '../../../services/shared/address.js';
import type { Bus } from '../../../services/shared/bus/bus.js';
import { loadConfig } from '../../../services/shared/config/config.js';
import { contracts } from '../../../services/shared/contracts.js';
import { expectSchema } from '../../json_schema.js';
import { Authority, writeTls } from '../keyexchange/certificates.js';
import { AuditServer, asService, freePort, NatsServer } from '../shared/nats_server.js';

let server: NatsServer;
let dir: string;
let audit: AuditServer;
let file: string;
let services: Bus[] = [];
let stdout = '';
let stderr = '';

beforeAll(async () => {
  server = await NatsServer.start('a');
  audit = await AuditServer.start('a');
  dir = mkdtempSync(join(tmpdir(), 'psp-cli-'));
  file = join(dir, 'node.yaml');
  writeFileSync(
    file,
    `node: a
unsecured: { port: veth-host }
secured: { port: veth-wire, address: 192.0.2.1/24 }
keyExchange: { listen: "198.51.100.1:3000" }
vips: [10.1.0.0/24]
peers: { b: { endpoint: "198.51.100.2:3000", vips: [10.2.0.0/24] } }
bus: { listen: "${server.listen}" }
audit: { listen: "${audit.listen}" }
`,
  );
  mkdirSync(join(dir, 'nats'));
  writeFileSync(join(dir, 'nats/operator.password'), server.passwords.operator, { mode: 0o640 });
});
afterAll(async () => {
  await server.remove();
  await audit.remove();
  rmSync(dir, { recursive: true });
});
beforeEach(() => {
  stdout = '';
  stderr = '';
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
  await Promise.all(services.map((service) => service.close()));
  services = [];
});

const peerTerms = {
  name: 'b',
  mode: Mode.MODE_TUNNEL,
  authOnly: false,
  cookie: false,
  cryptOffset: 0,
  mtu: 0,
  samplingLog2: undefined as number | undefined,
};

const psp = (...args: string[]) => run([...args, '-c', file]);
const json = () => JSON.parse(stdout) as Record<string, unknown>;

async function dataplane(answers: {
  status?: Partial<DataplaneStatus>;
  rotated?: Partial<KeysRotated>;
  rotate?: (message: KeysRotate) => { rotated: boolean; cutFlows: number };
  sampling?: (message: SamplingSet) => SamplingState;
  flows?: (query: FlowsQuery) => FlowsPage;
  remove?: (message: FlowRemove) => FlowRemoved;
}): Promise<void> {
  const bus = await server.connect('dataplane', asService);
  services.push(bus);
  const status = { node: 'a', ingressAcl: true, ...answers.status };
  bus.respond(contracts.dataplaneStatus, () => DataplaneStatus.fromPartial(status));
  bus.respond(contracts.keysRotate, (message) => {
    const made = answers.rotate?.(message);
    if (made === undefined) return KeysRotated.fromPartial({ ...answers.rotated });
    const code = made.rotated ? '' : 'ROTATION_PENDING';
    return KeysRotated.fromPartial({ code, generation: 4, reofferedFlows: 7, cutFlows: made.cutFlows });
  });
  if (answers.flows) bus.respond(contracts.dataplaneFlows, answers.flows);
  if (answers.remove) bus.respond(contracts.flowRemove, answers.remove);
  const { sampling } = answers;
  if (sampling) {
    bus.respond(contracts.samplingSet, (message) => {
      const state = sampling(message);
      const { samplingLog2, terms = [] } = status;
      const rate = state.egressLog2;
      if (message.peer === '') Object.assign(status, { samplingLog2: rate });
      status.terms = terms.map((peer) => ({
        ...peer,
        samplingLog2: ['', peer.name].includes(message.peer) ? rate : (peer.samplingLog2 ?? samplingLog2),
      }));
      return state;
    });
  }
  await bus.flush();
}
async function keyexchange(status: Parameters<typeof KeyExchangeStatus.fromPartial>[0]): Promise<void> {
  const bus = await server.connect('keyexchange', asService);
  services.push(bus);
  const { id } = bus;
  bus.respond(contracts.keyexchangeStatus, () => KeyExchangeStatus.fromPartial({ ...status, id }));
  await bus.flush();
}
/** A service that reports only that it exists. */
async function plain(
  name: 'sampler' | 'stats',
  status: Partial<ServiceStatus> = {},
  afterMs = 0,
): Promise<void> {
  const bus = await server.connect(name, asService);
  services.push(bus);
  const { id } = bus;
  const contract = name === 'sampler' ? contracts.samplerStatus : contracts.statsStatus;
  bus.respond(contract, async () => {
    await delay(afterMs);
    return ServiceStatus.fromPartial({ ...status, id });
  });
  await bus.flush();
}

describe('psp pipeline', () => {
  const pipes = [
    { pipe: 'ingress_root', hit: 9n, miss: 2n },
    { pipe: 'egress_root', hit: 6n, miss: 1n },
    { pipe: 'egress_acl', hit: 5n, miss: 1n },
    { pipe: 'egress_sampling', hit: 0n, miss: 0n },
    { pipe: 'ingress_decrypt', hit: 2n, miss: 1n },
    { pipe: 'ingress_sampling', hit: 0n, miss: 2n },
    { pipe: 'ingress_acl', hit: 2n, miss: 0n },
    { pipe: 'syndrome_stats', hit: 1n, miss: 0n },
  ];
  const status = {
    pipes,
    ports: [
      { role: 'unsecured', rxPackets: 8n, txPackets: 2n },
      { role: 'secured', rxPackets: 3n, txPackets: 5n },
    ],
    drops: [
      { reason: 'no_peer', direction: 'egress', packets: 1n },
      { reason: 'vlan', direction: 'egress', packets: 0n },
      { reason: 'icv_failure', direction: 'ingress', packets: 1n },
    ],
  };

  it('shows the pipes of each direction in the order in which packets meet them', async () => {
    await dataplane({ status: status as Partial<DataplaneStatus> });
    expect(await psp('pipeline')).toBe(0);
    expect(stdout).toBe(`\
egress: the unsecured port received 8 frames
PIPE                            HIT  MISS
ingress_root (both directions)    9     2
egress_root                       6     1
egress_acl                        5     1
egress_sampling                   0     0
dropped 1 as no_peer
the secured port sent 5 frames

ingress: the secured port received 3 frames
PIPE                            HIT  MISS
ingress_root (both directions)    9     2
ingress_decrypt                   2     1
ingress_sampling                  0     2
ingress_acl                       2     0
syndrome_stats                    1     0
dropped 1 as icv_failure
the unsecured port sent 2 frames
`);
  });

  it('shows the same in JSON', async () => {
    await dataplane({ status: status as Partial<DataplaneStatus> });
    expect(await psp('pipeline', '--json')).toBe(0);
    expectSchema('pipeline', json());
    expect(json()).toMatchObject({
      node: 'a',
      ways: [
        { direction: 'egress', drops: [{ reason: 'no_peer', packets: 1 }] },
        { direction: 'ingress', drops: [{ reason: 'icv_failure', packets: 1 }] },
      ],
    });
    const { ways } = json() as { ways: { pipes: { pipe: string; hit: number }[] }[] };
    expect(ways[1]?.pipes.map(({ pipe, hit }) => `${pipe} ${hit}`)).toEqual([
      'ingress_root 9',
      'ingress_decrypt 2',
      'ingress_sampling 0',
      'ingress_acl 2',
      'syndrome_stats 1',
    ]);
  });
});

describe('psp status', () => {
  const ago = (ms: number) => BigInt(Date.now() - ms);
  const traffic = {
    name: 'b',
    egressPackets: 5n,
    egressBytes: 500n,
    ingressPackets: 0n,
    ingressBytes: 0n,
    lastEgressMs: ago(7000),
    lastIngressMs: 0n,
    keyedFlows: 1,
    inboundFlows: 0,
    lastKeyMs: ago(600_000),
    greeting: 'answered',
    epoch: 0xabcn,
    unansweredFlows: 0,
    unansweredSinceMs: 0n,
  };
  const peer = {
    name: 'b',
    endpoint: '198.51.100.2:3000',
    breaker: 'closed',
    link: 'connected',
    linkSinceMs: ago(300_000),
    exchanges: 10n,
    answered: 6n,
    refused: 3n,
    failed: 1n,
    lastCode: 'PEER_DOWN',
    lastCodeMs: ago(200_000),
  };
  const well = async () => {
    await keyexchange({});
    await plain('sampler');
    await plain('stats');
  };

  it('starts with the faults and their age, and shows drops that are not zero and the wait for a rotation', async () => {
    const sinceMs = ago(300_000);
    await dataplane({
      status: {
        epoch: 0xabcn,
        generation: 3,
        generationMs: ago(10_800_000),
        nextRotationMs: ago(-7_210_000),
        unansweredFlows: 4,
        drainLeftMs: 120,
        traffic: [{ ...traffic, unansweredFlows: 4, unansweredSinceMs: ago(301_000) }],
        startedMs: sinceMs,
        health: [{ part: 'events', message: 'the ring was full; give it a core', sinceMs }],
        drops: [
          { reason: 'no_peer', direction: 'egress', packets: 12n },
          { reason: 'bad_icv', direction: 'ingress', packets: 0n },
        ],
        pipes: [{ pipe: 'egress_acl', hit: 7n, miss: 1n }],
        samplingLog2: 10,
      },
    });
    await keyexchange({ health: [{ part: 'peer b', message: 'is down' }], peers: [peer] });
    await plain('sampler', { health: [{ part: 'files', message: 'cannot be written', sinceMs }] });
    await plain('stats');
    expect(await psp('status')).toBe(0);
    const lines = stdout.split('\n');
    expect(lines.slice(0, 3)).toEqual([
      '! events (for 5 min): the ring was full; give it a core',
      '! peer b: is down',
      '! files (for 5 min): cannot be written',
    ]);
    expect(stdout).toContain('epoch 0x0000000000000abc');
    expect(stdout).toContain(
      'generation 3, 3 h old; the next rotation is due in 2 h; it would wait for the answers of peers that may still use the older key: b (4 flows, for 5 min) and 120 ms of drain',
    );
    expect(stdout).toContain('sampling copies one of 1024 packets that leave\n');
    expect(stdout).toMatch(/no_peer +egress +12/);
    expect(stdout).not.toContain('bad_icv');
    expect(stdout).toMatch(/egress_acl +7 +1/);
    expect(stdout).toMatch(/dataplane +\w{22} +0\.1\.0 +5 min/);
  });

  it('shows the link of each peer, the last packet in both directions, the age of its key and the results of exchanges', async () => {
    await dataplane({ status: { traffic: [traffic, { ...traffic, name: 'c', lastKeyMs: 0n }] } });
    await keyexchange({ peers: [peer] });
    await keyexchange({ peers: [{ ...peer, link: 'failed', linkSinceMs: ago(3000), breaker: 'open' }] });
    expect(await psp('status')).toBe(1);
    expect(stdout).toMatch(
      /b +198\.51\.100\.2:3000 +failed \d+ s +open +answered +\d+ s ago +- +1\d min +20 +12 +6 +2 +PEER_DOWN 3 min ago/,
    );
    expect(stdout).toMatch(/c +- +- +- +answered +\d+ s ago +- +- +0 +0 +0 +0 +-/);
  });

  it('reports that a node is healthy', async () => {
    await dataplane({});
    await well();
    expect(await psp('status')).toBe(0);
    expect(stdout).toMatch(/^node a is well\n/);
    expect(stdout).toContain('no packet was dropped');
    expect(stdout).toContain('no rotation on schedule; it is possible now');
    expect(stdout).toContain('sampling is off');
  });

  it('shows how packets of each peer are encapsulated, and whether they are encrypted', async () => {
    const terms = [
      { ...peerTerms, name: 'b', mode: Mode.MODE_TRANSPORT, authOnly: true, mtu: 1400 },
      { ...peerTerms, name: 'c', cookie: true, cryptOffset: 10, samplingLog2: 3 },
    ];
    const bypass = [{ rule: '198.51.100.0/24 udp port 53', egressPackets: 17n, ingressPackets: 18n }];
    await dataplane({ status: { terms, bypass, ingressAcl: false } });
    await well();
    expect(await psp('status')).toBe(0);
    expect(stdout).toMatch(/^b +transport +NOT ENCRYPTED \(authOnly\) +no +0 +1400 +off$/m);
    expect(stdout).toMatch(/^c +tunnel +encrypted +yes +10 +- +1\/8$/m);
    expect(stdout).toContain('ingressAcl is false: every packet that authenticates is admitted');
    expect(stdout).toContain('sampling is off; one of 8 towards c\n');
    expect(stdout).toMatch(/PASSED UNENCRYPTED BY +EGRESS +INGRESS\n198\.51\.100\.0\/24 udp port 53 +17 +18/);
    stdout = '';
    expect(await psp('status', '--json')).toBe(0);
    expectSchema('status', json());
    expect(json().dataplane).toMatchObject({
      ingressAcl: false,
      bypass: [{ rule: '198.51.100.0/24 udp port 53', egressPackets: 17, ingressPackets: 18 }],
      terms: [
        { name: 'b', mode: 'transport', authOnly: true, mtu: 1400, samplingLog2: null },
        { name: 'c', mode: 'tunnel', authOnly: false, cookie: true, cryptOffset: 10, samplingLog2: 3 },
      ],
    });
  });

  it("shows the specification's counters by Linux's names", async () => {
    const counters = ['rxPackets', 'txBytes', 'keyRotations'].map((name, i) => ({
      name,
      value: BigInt(i),
    }));
    await dataplane({ status: { counters } });
    await well();
    expect(await psp('status', '--counters')).toBe(0);
    expect(stdout).toMatch(
      /Counters of the PSP specification\nCOUNTER +VALUE\nrx-packets +0\ntx-bytes +1\nkey-rotations +2\n\n/,
    );
  });

  it('shows the counters of every service only with --counters', async () => {
    const counters = [
      { name: 'heldTotal', value: 3n },
      { name: 'missEvents', value: 0n },
    ];
    await dataplane({ status: { counters } });
    await keyexchange({ counters: [{ name: 'wants', value: 8n }] });
    await plain('sampler', { counters: [{ name: 'lines', value: 9n }] });
    await plain('stats', { counters: [{ name: 'heard', value: 1n }] });
    await plain('stats', { counters: [{ name: 'heard', value: 2n }] });
    await psp('status');
    expect(stdout).not.toMatch(/heldTotal|wants/);
    stdout = '';
    expect(await psp('status', '--counters')).toBe(0);
    expect(stdout).toMatch(/dataplane +heldTotal +3/);
    expect(stdout).toMatch(/keyexchange +wants +8/);
    expect(stdout).toMatch(/sampler +lines +9/);
    expect(stdout).toMatch(/stats \w{22} +heard +[12]\n.*stats \w{22} +heard +[12]/);
    expect(stdout).not.toContain('missEvents');
  });

  it.each(['dataplane', 'keyexchange', 'sampler', 'stats'])('ends with 1 when %s is silent', async (name) => {
    if (name !== 'dataplane') await dataplane({});
    if (name !== 'keyexchange') await keyexchange({});
    if (name !== 'sampler') await plain('sampler');
    if (name !== 'stats') await plain('stats');
    expect(await psp('status')).toBe(1);
    expect(stdout).toMatch(new RegExp(`^! ${name}: ${name} does not answer; see its log`));
    expect(stdout.match(/^!/gm)).toHaveLength(1);
    expect(stderr).toBe('');
  });

  it('has keys in camelCase, numbers for counts and 0x strings for epochs in JSON', async () => {
    await dataplane({
      status: {
        epoch: 2n ** 63n,
        ports: [],
        drops: [{ reason: 'x', direction: 'egress', packets: 5n }],
        traffic: [traffic],
        counters: [{ name: 'held', value: 1n }],
      },
    });
    await keyexchange({ peers: [{ ...peer, lastAnswerMs: 1n }] });
    await plain('sampler');
    await plain('stats', { startedMs: 77n });
    expect(await psp('status', '--json')).toBe(0);
    expectSchema('status', json());
    expect(json()).toMatchObject({
      node: 'a',
      ok: true,
      health: [],
      dataplane: {
        epoch: '0x8000000000000000',
        drops: [{ reason: 'x', packets: 5 }],
        unansweredFlows: 0,
        samplingLog2: null,
      },
      keyExchange: [{ peers: [{ name: 'b', lastAnswerMs: 1, link: 'connected' }] }],
      sampler: [{ health: [] }],
      stats: [{ startedMs: 77 }],
    });
    const running = json().services as { name: string; startedMs: number }[];
    expect(running.map(({ name }) => name).sort()).toEqual(['dataplane', 'keyexchange', 'sampler', 'stats']);
    expect(running.find(({ name }) => name === 'stats')?.startedMs).toBe(77);
  });

  it('conforms to its schema if no service answers', async () => {
    expect(await psp('status', '--json')).toBe(1);
    expectSchema('status', json());
    expect(json()).toMatchObject({ ok: false, dataplane: null, keyExchange: [], sampler: [], stats: [] });
  });

  it('waits for a service that is slow, and for no other', async () => {
    await dataplane({});
    await keyexchange({});
    await plain('stats');
    await psp('status', '--json');
    expect(json().sampler).toEqual([]);
    stdout = '';
    await plain('sampler', {}, 1300);
    expect(await psp('status', '--json')).toBe(0);
    expect(json()).toMatchObject({ ok: true, sampler: [{ node: '' }] });
  });

  it('waits at most two seconds for one that does not answer', async () => {
    await dataplane({});
    await keyexchange({});
    await plain('stats');
    await plain('sampler', {}, 10_000);
    const askedAt = performance.now();
    expect(await psp('status', '--json')).toBe(1);
    expect(json()).toMatchObject({ ok: false, health: [{ part: 'sampler' }] });
    expect(performance.now() - askedAt).toBeGreaterThan(1900);
  });

  it('shows every replica', async () => {
    await dataplane({});
    await well();
    await keyexchange({});
    expect(await psp('status', '--json')).toBe(0);
    expect(json().keyExchange).toHaveLength(2);
  });
});

describe('psp flows', () => {
  const rows = Array.from({ length: 2500 }, (_, i) =>
    FlowRow.fromPartial({
      flow: {
        source: Buffer.from(parseAddress('10.1.0.2')),
        destination: Buffer.from(parseAddress(`10.2.${i >> 8}.${i & 255}`)),
      },
      peer: 'b',
      direction: 'egress',
      state: i === 0 ? 'wanted' : 'keyed',
      spi: i,
      version: 1,
      packets: BigInt(i),
    }),
  );
  const asked: number[] = [];
  const flows = ({ cursor, limit }: FlowsQuery): FlowsPage => {
    asked.push(limit);
    const end = Number(cursor) + limit;
    return { rows: rows.slice(Number(cursor), end), nextCursor: end < rows.length ? BigInt(end) : 0n };
  };

  it('reads page by page up to the limit and prints how to continue', async () => {
    await dataplane({ flows });
    asked.length = 0;
    expect(await psp('flows', '--limit', '2100')).toBe(0);
    expect(asked).toEqual([1000, 1000, 100]);
    expect(stdout.trim().split('\n')).toHaveLength(2102);
    expect(stdout).toContain('there are more flows: psp flows --cursor 2100');
    stdout = '';
    expect(await psp('flows', '--cursor', '2100')).toBe(0);
    expect(stdout.trim().split('\n')).toHaveLength(401);
    expect(stdout).not.toContain('there are more');
  });

  it('shows no SPI for a flow that has none', async () => {
    await dataplane({ flows });
    await psp('flows', '--limit', '2', '--json');
    expectSchema('flows', json());
    expect(json()).toMatchObject({
      nextCursor: 2,
      flows: [
        { source: '10.1.0.2', destination: '10.2.0.0', state: 'wanted', spi: null, version: null },
        { destination: '10.2.0.1', state: 'keyed', spi: '0x00000001', version: 1, packets: 1 },
      ],
    });
    stdout = '';
    await psp('flows', '--cursor', '2400', '--json');
    expectSchema('flows', json());
    expect(json().nextCursor).toBeNull();
  });

  it('shows the mode, the path MTU, and that a version does not encrypt', async () => {
    const own = [
      { version: 3, mode: Mode.MODE_TRANSPORT, pathMtu: 1400 },
      { version: 1, mode: Mode.MODE_TUNNEL, pathMtu: 0 },
    ].map((terms) => ({ ...(rows[1] as FlowRow), ...terms }));
    await dataplane({ flows: () => ({ rows: own, nextCursor: 0n }) });
    expect(await psp('flows')).toBe(0);
    expect(stdout).toMatch(/ 3 NOT ENCRYPTED \(authOnly\) +transport +1400 /);
    expect(stdout).toMatch(/ 1 +tunnel +- /);
    stdout = '';
    expect(await psp('flows', '--json')).toBe(0);
    expectSchema('flows', json());
    expect(json().flows).toMatchObject([
      { version: 3, encrypted: false, mode: 'transport', pathMtu: 1400 },
      { version: 1, encrypted: true, mode: 'tunnel', pathMtu: null },
    ]);
  });

  it('refuses invalid numbers as wrong usage', async () => {
    for (const bad of ['0', '-1', 'x', '1.5']) expect(await psp('flows', '--limit', bad)).toBe(2);
    for (const bad of ['x', '-1', '9007199254740992', '9223372036854775808']) {
      expect(await psp('flows', '--cursor', bad)).toBe(2);
    }
    expect(stderr).toMatch(/^psp: USAGE: option '--limit <rows>' argument '0' is invalid/);
  });
});

describe('psp flows remove', () => {
  /** A dataplane that removes so many tunnels, and what it was asked. */
  const removing = async (removed: number, code = '') => {
    const asked: FlowRemove[] = [];
    await dataplane({
      remove: (message) => {
        asked.push(message);
        return { code, removed };
      },
    });
    return asked;
  };
  const networkOf = (text: string, length: number) => ({ address: Buffer.from(parseAddress(text)), length });

  it('removes the tunnel between two addresses', async () => {
    const asked = await removing(1);
    expect(await psp('flows', 'remove', '10.1.0.1', '10.2.0.1')).toBe(0);
    expect(stdout).toBe('removed 1 tunnel\n');
    expect(asked).toEqual([{ peer: '', one: networkOf('10.1.0.1', 32), other: networkOf('10.2.0.1', 32) }]);
  });

  it('takes prefixes of both families, without their host bits, and the name of a peer', async () => {
    const asked = await removing(12);
    expect(await psp('flows', 'remove', '10.1.0.7/24', '0.0.0.0/0', '--peer', 'b')).toBe(0);
    expect(await psp('flows', 'remove', '2001:db8::1', '2001:db8:1::/48')).toBe(0);
    expect(await psp('flows', 'remove', '--peer', 'b')).toBe(0);
    expect(await psp('flows', 'remove', '--all')).toBe(0);
    expect(asked).toEqual([
      { peer: 'b', one: networkOf('10.1.0.0', 24), other: networkOf('0.0.0.0', 0) },
      { peer: '', one: networkOf('2001:db8::1', 128), other: networkOf('2001:db8:1::', 48) },
      { peer: 'b', one: undefined, other: undefined },
      { peer: '', one: undefined, other: undefined },
    ]);
  });

  it('prints JSON', async () => {
    await removing(12);
    expect(await psp('flows', 'remove', '--all', '--json')).toBe(0);
    expectSchema('flows_remove', json());
    expect(json()).toEqual({ removed: 12 });
  });

  it('fails with FLOW_UNKNOWN if there is no tunnel between the addresses, and not without addresses', async () => {
    await removing(0);
    expect(await psp('flows', 'remove', '10.1.0.1', '10.2.0.0/16')).toBe(1);
    expect(stderr).toBe(
      'psp: FLOW_UNKNOWN: there is no tunnel between 10.1.0.1 and 10.2.0.0/16; `psp flows` lists the flows\n',
    );
    expect(await psp('flows', 'remove', '--peer', 'b')).toBe(0);
    expect(stdout).toBe('removed 0 tunnels\n');
  });

  it.each([
    [['10.1.0.1'], 'a destination is missing: SRC and DST name a tunnel'],
    [[], 'nothing is selected: give SRC and DST, --peer NAME, or --all'],
    [['10.1.0.1', '2001:db8::1'], '10.1.0.1 and 2001:db8::1 are not of the same family'],
    [
      ['10.1.0.1', '10.2.0.1', '--all'],
      '--all selects every tunnel; leave it out, or leave out the other selection',
    ],
    [['host', '10.2.0.1'], 'an IP address or a prefix (address/length) is expected'],
    [['10.1.0.1/33', '10.2.0.1'], 'an IP address or a prefix (address/length) is expected'],
    [['--peer', 'z'], 'there is no peer z in '],
  ])('reports wrong usage in one line, without a request: %j', async (args, text) => {
    const asked = await removing(1);
    expect(await psp('flows', 'remove', ...args)).toBe(2);
    expect(stderr).toMatch(/^psp: USAGE: [^\n]+\n$/);
    expect(stderr).toContain(text);
    expect(asked).toEqual([]);
  });

  it('reports that the dataplane runs with a node file without the peer', async () => {
    await removing(0, 'PAYLOAD_INVALID');
    expect(await psp('flows', 'remove', '--peer', 'b')).toBe(1);
    expect(stderr).toMatch(/refused it for peer b; it may run with an older node file\n$/);
  });
});

describe('psp rotate', () => {
  it('ends with 0 and the new generation', async () => {
    await dataplane({ rotated: { generation: 4, reofferedFlows: 12 } });
    expect(await psp('rotate')).toBe(0);
    expect(stdout).toBe('rotated to generation 4; 12 flows get new offers\n');
  });

  it('ends with 3 and the wait while the last one is not complete', async () => {
    await dataplane({
      rotated: { code: 'ROTATION_PENDING', generation: 4, unansweredFlows: 2, drainLeftMs: 300, cutFlows: 1 },
    });
    expect(await psp('rotate')).toBe(3);
    expect(stderr).toBe(
      'psp: ROTATION_PENDING: the last rotation is not complete: 2 flows unanswered, 300 ms of drain left; a forced one would cut 1 flows; try again later\n',
    );
    expect(await psp('rotate', '--json')).toBe(3);
    expectSchema('rotate', json());
    expect(json()).toEqual({
      rotated: false,
      generation: 4,
      reofferedFlows: 0,
      cutFlows: 1,
      unansweredFlows: 2,
      drainLeftMs: 300,
    });
  });

  const older = { name: 'b', unansweredFlows: 4, unansweredSinceMs: BigInt(Date.now() - 301_000) };
  const forced = async (flowsToCut: number, ...args: string[]) => {
    const requests: (number | undefined)[] = [];
    await dataplane({
      status: { flowsToCut, traffic: [PeerTraffic.fromPartial(older)] },
      rotate: ({ cutsAtMost }) => {
        requests.push(cutsAtMost);
        return { rotated: (cutsAtMost ?? 0) >= flowsToCut, cutFlows: flowsToCut };
      },
    });
    return { code: await psp('rotate', ...args), requests };
  };

  it('--force reports first which flows it cuts, and cuts none without --yes where nobody can be asked', async () => {
    const { code, requests } = await forced(3, '--force');
    expect([code, requests]).toEqual([3, [0]]);
    expect(stderr.split('\n').slice(0, 2)).toEqual([
      '--force cuts 3 flows, because these peers still use the older key: b (for 5 min)',
      'nothing was cut; add --yes to rotate without being asked',
    ]);
  });

  it('--force --yes does not ask and cuts them', async () => {
    const { code, requests } = await forced(3, '--force', '--yes');
    expect([code, requests]).toEqual([0, [0xffff_ffff]]);
    expect(stdout).toBe('rotated to generation 4; 7 flows get new offers; 3 flows were cut\n');
  });

  it('--force needs no answer if it cuts nothing, and without it no number is agreed to', async () => {
    const { code, requests } = await forced(0, '--force');
    expect([code, requests, stderr]).toEqual([0, [0], '']);
    await Promise.all(services.splice(0).map((service) => service.close()));
    expect((await forced(0)).requests).toEqual([undefined]);
  });

  it('--force asks on a terminal, and cuts the flows that it named only after a yes', async () => {
    const terminal = Object.assign(new PassThrough(), { isTTY: true });
    const input = vi
      .spyOn(process, 'stdin', 'get')
      .mockReturnValue(terminal as unknown as typeof process.stdin);
    try {
      terminal.write('n\n');
      expect(await forced(3, '--force')).toEqual({ code: 1, requests: [] });
      expect(stderr).toContain('rotate and cut them? [y/N] ');
      await Promise.all(services.splice(0).map((service) => service.close()));
      terminal.write('y\n');
      expect(await forced(3, '--force')).toEqual({ code: 0, requests: [3] });
    } finally {
      input.mockRestore();
    }
  });
});

describe('psp sampling', () => {
  const takes = ({ egressLog2 }: SamplingSet): SamplingState => ({ code: '', egressLog2, faults: '' });

  it.each([
    { rate: '4', says: 'one of 16 packets that leave is sampled\n', egressLog2: 4 },
    { rate: '0', says: 'every packet that leaves is sampled\n', egressLog2: 0 },
    { rate: '16', says: 'one of 65536 packets that leave is sampled\n', egressLog2: 16 },
    { rate: 'off', says: 'sampling is off\n', egressLog2: null },
  ])('sets $rate and reports it', async ({ rate, says, egressLog2 }) => {
    await dataplane({ sampling: takes });
    expect(await psp('sampling', rate)).toBe(0);
    expect(stdout).toBe(says);
    stdout = '';
    expect(await psp('sampling', rate, '--json')).toBe(0);
    expectSchema('sampling', json());
    expect(json()).toEqual({ egressLog2, peers: [] });
  });

  it('sets the rate for one peer and prints it', async () => {
    const terms = ['b'].map((name) => ({ ...peerTerms, name, samplingLog2: 4 }));
    await dataplane({ sampling: takes, status: { samplingLog2: 4, terms } });
    expect(await psp('sampling', '--peer', 'b', '2')).toBe(0);
    expect(stdout).toBe('one of 4 packets that leave towards b is sampled\n');
    stdout = '';
    expect(await psp('sampling')).toBe(0);
    expect(stdout).toBe(
      'one of 16 packets that leave is sampled\none of 4 packets that leave towards b is sampled\n',
    );
    stdout = '';
    expect(await psp('sampling', 'off', '--peer', 'b', '--json')).toBe(0);
    expectSchema('sampling', json());
    expect(json()).toEqual({ egressLog2: 4, peers: [{ name: 'b', egressLog2: null }] });
    stdout = '';
    expect(await psp('sampling', '--peer', 'b')).toBe(0);
    expect(stdout).toBe('no packet that leaves towards b is sampled\n');
  });

  it('reports in one line that there is no such peer, without a request', async () => {
    const asked: SamplingSet[] = [];
    await dataplane({
      sampling: (message) => {
        asked.push(message);
        return takes(message);
      },
    });
    expect(await psp('sampling', '4', '--peer', 'z')).toBe(2);
    expect(stderr).toBe(`psp: USAGE: there is no peer z in ${file}; its peers: b\n`);
    expect(asked).toEqual([]);
  });

  it('reports that the dataplane runs with a node file without the peer', async () => {
    await dataplane({ sampling: () => ({ code: 'PAYLOAD_INVALID', egressLog2: undefined, faults: '' }) });
    expect(await psp('sampling', '4', '--peer', 'b')).toBe(1);
    expect(stderr).toMatch(/refused it for peer b; it may run with an older node file\n$/);
  });

  it('shows the current rates', async () => {
    await dataplane({ status: { samplingLog2: 6 } });
    expect(await psp('sampling')).toBe(0);
    expect(stdout).toBe('one of 64 packets that leave is sampled\n');
  });

  it('refuses invalid rates as wrong usage', async () => {
    for (const bad of ['17', '-1', '1.5', 'on', '']) expect(await psp('sampling', bad), bad).toBe(2);
    expect(stderr).toContain('a whole number from 0 to 16, or off, is expected');
  });

  it('ends with 3 and one line while the engine is busy', async () => {
    await dataplane({ sampling: () => ({ code: 'ENGINE_BUSY', egressLog2: 4, faults: '' }) });
    expect(await psp('sampling', 'off')).toBe(3);
    expect(stdout).toBe('');
    expect(stderr).toBe(
      'psp: ENGINE_BUSY: the queue of commands to the engine is full at the moment; try again later\n',
    );
  });
});

describe('psp', () => {
  it('accepts -c and --json before and after the command', async () => {
    await dataplane({ rotated: { generation: 2 } });
    for (const args of [
      ['-c', file, '--json', 'rotate'],
      ['rotate', '-c', file, '--json'],
      ['--json', 'rotate', '--config', file],
    ]) {
      stdout = '';
      expect(await run(args)).toBe(0);
      expect(json().generation).toBe(2);
    }
    expect(await run(['config', 'check', '--file-only', '-c', file])).toBe(0);
    expect(await run(['config', '-c', file, 'check', '--file-only'])).toBe(0);
  });

  it('reports in one line that no node runs, at once', async () => {
    const away = join(dir, 'away.yaml');
    writeFileSync(
      away,
      'node: a\nunsecured: { port: x }\nsecured: { port: y, address: 192.0.2.1/24 }\n' +
        'keyExchange: { listen: "198.51.100.1:3000" }\nvips: [10.1.0.0/24]\nbus: { listen: "127.0.0.1:1" }\n',
    );
    for (const command of ['status', 'flows', 'pipeline', 'rotate', 'sampling']) {
      stderr = '';
      expect(await run([command, '-c', away])).toBe(1);
      expect(stderr).toBe(
        'psp: BUS_UNAVAILABLE: the bus at 127.0.0.1:1 cannot be reached: node a does not run here; ' +
          `start it with \`psp up -c ${away}\`; try again later\n`,
      );
    }
  });

  it('reports in one line that the dataplane does not answer', async () => {
    for (const command of ['flows', 'pipeline', 'rotate', 'sampling']) {
      stderr = '';
      expect(await psp(command)).toBe(1);
      expect(stderr).toBe('psp: SERVICE_DOWN: dataplane cannot be reached on the bus; try again later\n');
    }
  });

  it('ends with 2 on wrong usage and 0 on help', async () => {
    expect(await run(['bogus'])).toBe(2);
    expect(stderr).toBe("psp: USAGE: unknown command 'bogus'\n");
    for (const args of [
      ...[['init'], ['status', '--bogus'], ['rotate', 'extra'], ['pipeline', 'extra']],
      ...[['fence'], ['config'], []],
    ]) {
      expect(await run(args), args.join(' ')).toBe(2);
    }
    for (const args of [['--help'], ['--version']]) expect(await run(args)).toBe(0);
  });

  it('has a help text for every command and subcommand', async () => {
    const pathsOf = async (command: Command, path: string[]): Promise<string[][]> => {
      if (path.length === 1) await defineCommand(command);
      const below = await Promise.all(command.commands.map((sub) => pathsOf(sub, [...path, sub.name()])));
      return [path, ...below.flat()];
    };
    for (const path of await pathsOf(createProgram(), []))
      expect(await run([...path, '--help']), path.join(' ')).toBe(0);
  });

  it('checks a node file: a valid one with what it gives up, exit code 0, the same in JSON', async () => {
    const loose = join(dir, 'loose.yaml');
    writeFileSync(
      loose,
      `node: a
unsecured: { port: x }
secured: { port: y, address: 192.0.2.1/24 }
keyExchange: { listen: "198.51.100.1:3000" }
vips: [10.1.0.0/24]
peers:
  b: { endpoint: "198.51.100.2:3000", vips: [10.2.0.0/24], authOnly: true }
ingressAcl: false
`,
    );
    expect(await run(['config', 'check', loose, '--file-only'])).toBe(0);
    expect(stdout).toBe(
      `${loose} is good
warning: peers.b.authOnly (line 7): traffic with b is authenticated, not encrypted
warning: ingressAcl (line 8): every packet that authenticates is admitted, also from and to addresses that were not agreed
`,
    );
    stdout = '';
    expect(await run(['config', 'check', loose, '--file-only', '--json'])).toBe(0);
    expectSchema('config_check', json());
    expect(json()).toMatchObject({
      ok: true,
      faults: [],
      warnings: [
        { path: 'peers.b.authOnly', line: 7 },
        { path: 'ingressAcl', line: 8 },
      ],
    });
  });

  it('checks a node file: all faults, exit code 1, the same in JSON', async () => {
    const bad = join(dir, 'bad.yaml');
    writeFileSync(bad, 'node: A\nvips: []\nextra: 1\n');
    expect(await run(['config', 'check', '-c', bad])).toBe(1);
    expect(stderr.split('\n')[0]).toBe(`psp: CONFIG_INVALID: ${bad}:`);
    expect(stderr).toContain('  extra (line 3): expected one of node, unsecured');
    expect(await run(['config', 'check', bad, '--json'])).toBe(1);
    expectSchema('config_check', json());
    const { ok, faults } = json() as { ok: boolean; faults: { path: string }[] };
    expect(ok).toBe(false);
    const paths = ['node', 'unsecured', 'secured', 'keyExchange', 'vips', 'extra'];
    expect(faults.map(({ path }) => path).sort()).toEqual(paths.sort());
  });
});

describe('psp config check reports of listen addresses', () => {
  it('which ones another process has, unless the node itself runs', async () => {
    const taken = createServer();
    const port = await freePort();
    await once(taken.listen(port, '127.0.0.1'), 'listening');
    const other = join(dir, 'taken.yaml');
    const stateDir = mkdtempSync(join(dir, 'state-'));
    const yaml = readFileSync(file, 'utf8').replace(/^(?:metrics|stateDir):.*\n/gm, '');
    writeFileSync(other, `${yaml}metrics: { listen: "127.0.0.1:${port}" }\nstateDir: ${stateDir}\n`);
    const found = async () => {
      stdout = '';
      await run(['config', 'check', other, '--json']);
      const { faults } = json() as { faults: { path: string; received: string }[] };
      return faults.filter(({ path }) => path === 'metrics.listen').map(({ received }) => received);
    };
    expect(await found()).toEqual([`127.0.0.1:${port}`]);
    const held = openSync(join(stateDir, 'lock'), 'w');
    execFileSync('flock', ['-x', '-n', '3'], { stdio: ['ignore', 'ignore', 'ignore', held] });
    expect(await found()).toEqual([]);
    closeSync(held);
    taken.close();
    await once(taken, 'close');
    expect(await found()).toEqual([]);
  });
});

describe('psp config check reports of the engine', () => {
  it('that it is not built in, with those that are', async () => {
    const other = join(dir, 'other-engine.yaml');
    writeFileSync(other, `${readFileSync(file, 'utf8')}engine: { kind: doca }\n`);
    expect(await run(['config', 'check', other, '--json'])).toBe(1);
    const { faults } = json() as { faults: { path: string }[] };
    expect(faults).toContainEqual({
      path: 'engine.kind',
      expected: 'an engine that is built in: software',
      received: 'doca',
    });
  });

  it('that it lacks the crypto library of the node file', async () => {
    const other = join(dir, 'ipsec-mb.yaml');
    writeFileSync(other, `${readFileSync(file, 'utf8')}engine: { crypto: ipsec-mb }\n`);
    const of = async (hasIpsecMb: boolean) => {
      const found = await checkMachine(loadConfig(other, {}), { ...loadAddon(), hasIpsecMb });
      return found.faults.filter(({ path }) => path.startsWith('engine.')).map(({ path }) => path);
    };
    expect(await of(false)).toEqual(['engine.crypto']);
    expect(await of(true)).toEqual([]);
    expect(typeof loadAddon().hasIpsecMb).toBe('boolean');
  });

  it('that it has more lcores than the machine has cores', async () => {
    const other = join(dir, 'many-lcores.yaml');
    const lcores = availableParallelism() + 1;
    writeFileSync(other, `${readFileSync(file, 'utf8')}engine: { lcores: ${lcores} }\n`);
    expect(await run(['config', 'check', other, '--json'])).toBe(1);
    const { faults } = json() as { faults: { path: string }[] };
    expect(faults.filter(({ path }) => path.startsWith('engine.'))).toEqual([
      {
        path: 'engine.lcores',
        expected: `at most ${lcores - 1}, the cores of this machine`,
        received: `${lcores}`,
      },
    ]);
  });
});

describe('a certificate that cannot be used', () => {
  let authority: Authority;
  const identity = 'spiffe://psp/gateway/a';
  beforeAll(async () => {
    authority = await Authority.create();
  });
  afterEach(() => rmSync(join(dir, 'tls'), { recursive: true, force: true }));

  it('is a fault of config check for every reason, and none once it was replaced', async () => {
    const faulty = await authority.issue([identity], [], { to: -3_600_000, usages: ['serverAuth'] });
    writeTls(dir, authority.certificate, faulty);
    const certificate = join(dir, 'tls/node.crt');
    const found = async () => {
      stdout = '';
      expect(await psp('config', 'check', '--json')).toBe(1);
      expectSchema('config_check', json());
      const { faults } = json() as { faults: { path: string }[] };
      return faults.filter(({ path }) => path.startsWith(join(dir, 'tls')));
    };
    expect(await found()).toEqual([
      {
        path: certificate,
        expected: expect.stringMatching(/^a certificate for serverAuth and clientAuth \(.*psp certs renew/),
        received: 'one that lacks the extended key usage clientAuth',
      },
      {
        path: certificate,
        expected: expect.stringMatching(/^a certificate that is valid now \(.*psp certs renew.*clock/),
        received: expect.stringMatching(/^one that expired on \d{4}-/),
      },
    ]);
    writeTls(dir, authority.certificate, await authority.gateway(identity));
    expect(await found()).toEqual([]);
    writeFileSync(certificate, 'something else');
    expect(await found()).toMatchObject([{ path: certificate, received: 'no certificate in PEM' }]);
  });

  it('is reported by status though the key exchange is silent, and only once if the key exchange reports it, too', async () => {
    writeTls(dir, authority.certificate, await authority.issue([identity], [], { to: -7_200_000 }));
    await dataplane({});
    expect(await psp('status')).toBe(1);
    expect(stdout).toMatch(/^! certificate \(for 2 h.*\): CERTIFICATE_UNUSABLE: .*node\.crt expired on /m);
    await keyexchange({ health: [{ part: 'certificate', message: 'CERTIFICATE_UNUSABLE: x', sinceMs: 1n }] });
    stdout = '';
    await psp('status');
    expect(stdout.match(/CERTIFICATE_UNUSABLE/g)).toHaveLength(1);
  });
});
