// SPDX-License-Identifier: Apache-2.0
// Interoperation with other implementations of gRPC, protoc and AES-GCM: a client and a server in Python, generated
// from the plain definition of the peer protocol, exchange keys and packets with a gateway over mutual TLS.
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { ended, run, until } from './namespace.js';
import { Topology } from './topology.js';

/** Debian's Python, which has the packages; another one may come first in PATH. */
const python = '/usr/bin/python3';
const stockPeer = fromPackageRoot('test/e2e/agents/stock_peer.py');
const agent = (name: string) => fromPackageRoot(`dist/test/e2e/agents/${name}.js`);

let net: Topology;
let stubs: string;
let tls: string;
beforeAll(async () => {
  stubs = mkdtempSync(join(tmpdir(), 'psp-stubs-'));
  const protos = fromPackageRoot('docs/interop');
  const outputs = [`--python_out=${stubs}`, `--grpc_python_out=${stubs}`];
  run(python, '-m', 'grpc_tools.protoc', '-I', protos, ...outputs, join(protos, 'psp_gateway.proto'));
  net = await Topology.create();
  tls = join(net.b.files, 'tls');
  await net.a.start();
  // Test code takes gateway b's place: its side of the wire is an ordinary interface.
  const { namespace } = net.b;
  namespace.run('ethtool', '-K', 'veth-wire', 'tx', 'off');
  namespace.ip('address', 'add', '192.0.2.2/24', 'dev', 'veth-wire');
  namespace.ip('link', 'set', 'veth-wire', 'up');
});
afterAll(async () => {
  await net?.close();
  rmSync(stubs, { recursive: true, force: true });
});

describe('a stock gRPC server in Python', () => {
  it("receives a request on a miss, decrypts a host's packet, and its own packet is delivered", async () => {
    const server = net.b.namespace.spawn(python, [stockPeer, 'server', tls, stubs]);
    const said = { out: '', err: '' };
    server.stdout?.on('data', (text) => {
      said.out += text;
    });
    server.stderr?.on('data', (text) => {
      said.err += text;
    });
    await until('the server listens', () => said.err.includes('listening') || server.exitCode !== null);
    const { namespace, v4 } = net.host1;
    const host = await namespace.try(process.execPath, [
      agent('udp_ask'),
      net.host2.v4,
      '7777',
      'from host 1',
    ]);
    if (server.exitCode === null && host.code !== 0) server.kill('SIGKILL');
    await ended(server);
    expect(host.stdout, said.err + net.logs()).toBe('from a stock server');
    expect(server.exitCode, said.err).toBe(0);
    expect(JSON.parse(said.out)).toEqual({
      names: expect.arrayContaining(['spiffe://psp/gateway/a', 'a']),
      tunnel: [v4, net.host2.v4, 4, 1],
      first: { from: '192.0.2.1', spi: 0x1234_5678, version: 1, text: 'from host 1' },
    });
  });
});

describe.each([0, 1])('a stock gRPC client in Python, PSP version %i', (version) => {
  it('accepts our certificate by its host name, receives a key, and exchanges packets with a host', async () => {
    const answerer = net.host1.namespace.spawn(process.execPath, [agent('udp_answer'), '7777']);
    await until('the host answers', () => answerer.stdout?.readableLength !== 0);
    const client = await net.b.namespace.try(
      python,
      [stockPeer, 'client', tls, stubs, `${version}`],
      120_000,
    );
    const gone = once(answerer, 'exit');
    answerer.kill('SIGTERM');
    await gone;
    expect(client.code, client.stderr + net.logs()).toBe(0);
    expect(JSON.parse(client.stdout)).toEqual({
      requestId: 42,
      given: { version, ip: '192.0.2.1', keyOctets: version === 0 ? 16 : 32 },
      back: {
        from: '192.0.2.1',
        spi: 0x1234_5678,
        version,
        text: 'answer to: from a stock client',
      },
    });
  });
});

it('the plain definition is the gateway’s own without its additional fields', () => {
  const fields = (path: string) =>
    Object.fromEntries(
      [
        ...readFileSync(fromPackageRoot(path), 'utf8').matchAll(
          /^(?:message|service) (\w+) \{\n([\s\S]*?)^\}/gm,
        ),
      ].map(([, name = '', body = '']) => [
        name,
        body
          .replace(/\/\/.*$/gm, '')
          .split(';')
          .map((each) => each.trim())
          .filter((each) => each !== '' && !/= 1\d{3}$/.test(each)),
      ]),
    );
  const plain = fields('docs/interop/psp_gateway.proto');
  expect(Object.keys(plain)).toHaveLength(7);
  expect(plain).toEqual(fields('proto/psp_gateway.proto'));
});
