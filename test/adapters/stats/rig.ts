// SPDX-License-Identifier: Apache-2.0
// Stats services for tests: on a real nats-server, each with its pages on a free port of loopback, and a
// reader of /metrics.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { pino } from 'pino';
import { checkConfig, filesBeside, type NodeConfig } from '../../../services/shared/config/config.js';
import { sliceOf } from '../../../services/stats/config.js';
import { startStats } from '../../../services/stats/service.js';
import { freePort, type NatsServer } from '../shared/nats_server.js';

export interface Served {
  listen: string;
  lines: Record<string, unknown>[];
  get(path: string): Promise<{ status: number; type: string; body: string }>;
  stop(): Promise<void>;
}

const nodeFile = (nats: NatsServer, peers: readonly string[], listen: string, folder: string): string =>
  `node: ${nats.node}
unsecured: { port: unused0 }
secured: { port: unused1, address: 192.0.2.1/24 }
keyExchange: { listen: "127.0.0.1:3000" }
vips: [10.1.0.0/24]
peers: { ${peers.map((name, i) => `${name}: { endpoint: "127.0.0.1:3001", vips: [10.${i + 2}.0.0/24] }`).join()} }
bypass: [{ prefix: 198.51.100.0/24, protocol: udp, port: 53 }]
bus: { listen: "${nats.listen}" }
audit: { listen: "${nats.auditListen}" }
metrics: { listen: "${listen}" }
stateDir: ${folder}/state
`;

function configIn(folder: string, nats: NatsServer, peers: readonly string[], listen: string): NodeConfig {
  const files = filesBeside(join(folder, 'node.yaml'));
  mkdirSync(files.passwords);
  writeFileSync(join(files.passwords, 'stats.password'), nats.passwords.stats, { mode: 0o640 });
  const checked = checkConfig(nodeFile(nats, peers, listen, folder), files.config);
  if ('faults' in checked) throw new Error(JSON.stringify(checked.faults));
  return checked.config;
}

export async function startServed(
  nats: NatsServer,
  peers: readonly string[] = ['b'],
  address?: string,
): Promise<Served> {
  const listen = address ?? `127.0.0.1:${await freePort()}`;
  const lines: Record<string, unknown>[] = [];
  const sink = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      lines.push(JSON.parse(chunk.toString()));
      done();
    },
  });
  const folder = mkdtempSync(join(tmpdir(), 'psp-stats-'));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  const config = sliceOf(configIn(folder, nats, peers, listen));
  const service = await startStats(config, pino(sink)).catch((error: unknown) => {
    remove();
    throw error;
  });
  let stopped: Promise<void> | undefined;
  return {
    listen,
    lines,
    get: async (path) => {
      const answer = await fetch(`http://${listen}${path}`, { headers: { connection: 'close' } });
      return {
        status: answer.status,
        type: answer.headers.get('content-type') ?? '',
        body: await answer.text(),
      };
    },
    stop: () => {
      stopped ??= service.stop().then(remove);
      return stopped;
    },
  };
}

export interface Exposed {
  /** By name, from HELP and TYPE lines. */
  families: Record<string, { type: string; help: string; labels: Set<string> }>;
  /** By the text before the value. */
  series: Record<string, number>;
}

/** Reads the text format as a scraper does. @throws Error on an invalid line or a duplicate series. */
export function exposed(body: string): Exposed {
  const families: Exposed['families'] = {};
  const series: Exposed['series'] = {};
  const familyOf = (name: string) => {
    families[name] ??= { type: '', help: '', labels: new Set() };
    return families[name];
  };
  for (const line of body.split('\n').filter((each) => each !== '')) {
    const about = /^# (HELP|TYPE) (\w+) (.*)$/.exec(line);
    if (about) {
      const [, what, name = '', text = ''] = about;
      if (what === 'HELP') familyOf(name).help = text;
      else familyOf(name).type = text;
      continue;
    }
    const sample = /^((\w+)(?:\{(.*)\})?) (\S+)$/.exec(line);
    if (!sample) throw new Error(`no line of the format: ${line}`);
    const [, key = '', name = '', labels = '', value] = sample;
    if (key in series) throw new Error(`twice: ${key}`);
    series[key] = Number(value);
    const base = name in families ? name : name.replace(/_(bucket|sum|count)$/, '');
    for (const [, label] of labels.matchAll(/(\w+)="/g)) {
      if (label !== 'le') familyOf(base).labels.add(label as string);
    }
  }
  return { families, series };
}
