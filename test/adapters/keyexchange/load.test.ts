// SPDX-License-Identifier: Apache-2.0
// The limits that keep one peer from taking more than its share of the key exchange: calls that have ended are not
// carried out, and tunnels in flight and calls per connection are bounded.
import { once } from 'node:events';
import { connect } from 'node:http2';
import { setTimeout as delay } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { MultiTunnelRequest } from '../../../proto/gen/psp_gateway.js';
import { Answerer } from '../../../services/keyexchange/adapters/answerer.js';
import { rulesOf } from '../../../services/keyexchange/config.js';
import type { Peer } from '../../../services/keyexchange/core/rules.js';
import { Tally } from '../../../services/keyexchange/core/tally.js';
import { checkConfig } from '../../../services/shared/config/config.js';
import { FlowTraces } from '../../../services/shared/service/flow_traces.js';
import { eventually, longMs } from '../shared/waiting.js';
import { Authority, type KeyPair } from './certificates.js';
import { PlainClient } from './peer.js';
import { freePorts, startNode, type TestNode } from './rig.js';

// A command to the dataplane has a timeout of 300 ms; here it is longer, so that a busy machine does not decide the
// result.
vi.mock('../../../services/keyexchange/core/rules.js', async (original) => ({
  ...(await original<object>()),
  shortestCommandMs: 2000,
}));

const until = () => {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { open, opened };
};

describe('a request that waits its turn', () => {
  const checked = checkConfig(
    `node: a
unsecured: { port: unused0 }
secured: { port: unused1, address: 192.0.2.1/24 }
keyExchange: { listen: "127.0.0.1:1" }
vips: [10.1.0.0/24]
peers: { b: { endpoint: "127.0.0.1:2", vips: [10.2.0.0/24] } }
`,
    'node.yaml',
  );
  if ('faults' in checked) throw new Error(JSON.stringify(checked.faults));
  const rules = rulesOf(checked.config);
  const peer = rules.peers.get('b') as Peer;
  const request = (last: number): MultiTunnelRequest => ({
    requestId: BigInt(last),
    pspVersionsAccepted: [0],
    epoch: undefined,
    tunnels: [{ virtSrcIp: `10.2.0.${last}`, virtDstIp: '10.1.0.1', innerType: 4, reverseParams: undefined }],
  });

  /** An answerer that is fully busy until `open`; `accepts` counts the requests that reach the dataplane. */
  async function busy() {
    const gate = until();
    const dataplane = {
      accept: vi.fn(async () => {
        await gate.opened;
        return { stale: false as const, epoch: 1n, offers: [], keys: [] };
      }),
      rotate: () => expect.unreachable(),
    };
    const answerer = new Answerer(rules, dataplane, new Tally(['b']), new FlowTraces());
    const call = { timeoutMs: 10_000, onCancelled: () => undefined };
    const taken = Array.from({ length: 64 }, (_, i) => answerer.answer(peer, request(i), call));
    await eventually(() => expect(dataplane.accept).toHaveBeenCalledTimes(64));
    return { answerer, call, taken, open: gate.open, accepts: dataplane.accept.mock };
  }

  it('is carried out if its turn comes in time', async () => {
    const { answerer, call, open, accepts } = await busy();
    const waiting = answerer.answer(peer, request(99), call);
    open();
    expect((await waiting).requestId).toBe(99n);
    expect(accepts.calls).toHaveLength(65);
  });

  it('is not carried out once its time is over', async () => {
    const { answerer, call, open, accepts, taken } = await busy();
    const late = answerer.answer(peer, request(99), { ...call, timeoutMs: 30 });
    late.catch(() => undefined);
    await delay(60);
    open();
    await expect(late).rejects.toMatchObject({ code: 'OVERLOADED' });
    await Promise.all(taken);
    expect(accepts.calls).toHaveLength(64);
  });

  it('is not carried out once its call was cancelled', async () => {
    const { answerer, call, open, accepts, taken } = await busy();
    let cancel: () => void = () => undefined;
    const onCancelled = (listener: () => void) => {
      cancel = listener;
    };
    const given = answerer.answer(peer, request(99), { ...call, onCancelled });
    given.catch(() => undefined);
    cancel();
    open();
    await expect(given).rejects.toMatchObject({ code: 'OVERLOADED' });
    await Promise.all(taken);
    expect(accepts.calls).toHaveLength(64);
  });
});

describe('a peer at our port', () => {
  let authority: Authority;
  let pair: KeyPair;
  let port: number;
  let a: TestNode;
  beforeAll(async () => {
    authority = await Authority.create();
    const ports = await freePorts('a', 'b');
    port = ports.a as number;
    a = await startNode('a', authority, { ports });
    pair = await authority.gateway('spiffe://psp/gateway/b');
  });
  afterAll(() => a?.stop());

  it('may have 128 open calls on one connection', async () => {
    const session = connect(`https://127.0.0.1:${port}`, {
      ca: authority.certificate,
      cert: pair.certificate,
      key: pair.privateKey,
      checkServerIdentity: () => undefined,
    });
    const [settings] = await once(session, 'remoteSettings');
    session.destroy();
    expect(settings.maxConcurrentStreams).toBe(128);
  });

  it('that gave up before its turn came causes no work for the dataplane', async () => {
    const client = new PlainClient(port, authority.certificate, pair);
    const ask = (last: number, timeoutMs: number) =>
      client.request(
        {
          requestId: last,
          versions: [0],
          tunnels: [{ source: `10.2.0.${last}`, destination: '10.1.0.5', innerType: 4 }],
        },
        timeoutMs,
      );
    expect(await ask(201, longMs)).toMatchObject({ requestId: 201 });
    const before = a.dataplane.accepts.length;
    a.dataplane.answers = false;
    const taken = Array.from({ length: 64 }, (_, i) => ask(i, longMs));
    await eventually(() => expect(a.dataplane.accepts).toHaveLength(before + 64));
    const late = Array.from({ length: 30 }, (_, i) => ask(100 + i, 60));
    expect(await Promise.all(late)).toEqual(
      late.map(() => expect.objectContaining({ code: status.DEADLINE_EXCEEDED })),
    );
    await Promise.all(taken);
    a.dataplane.answers = true;
    expect(await ask(200, longMs)).toMatchObject({ requestId: 200 });
    expect(a.dataplane.accepts).toHaveLength(before + 65);
    client.close();
  });
});
