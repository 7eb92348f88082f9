// SPDX-License-Identifier: Apache-2.0
// A node for the tests of the key exchange: a real nats-server, the service itself on a loopback port, and a
// substitute for the dataplane that follows the contracts and records the messages that it receives.
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { pino } from 'pino';
import {
  type FlowAccept,
  type FlowAccepted,
  type FlowInstall,
  type FlowInstalled,
  type FlowRefuse,
  type FlowWanted,
  InstallResult,
  type KeyExchangeStatus,
  KeysRotated,
  Mode,
  type Offer,
  type PeerGreeted,
  WantReason,
} from '../../../proto/gen/bus.js';
import { sliceOf } from '../../../services/keyexchange/config.js';
import { type KeyExchange, startKeyExchange } from '../../../services/keyexchange/service.js';
import { parseAddress, parseMac } from '../../../services/shared/address.js';
import type { Bus } from '../../../services/shared/bus/bus.js';
import { Opener, Sealer } from '../../../services/shared/bus/seal.js';
import {
  checkConfig,
  filesBeside,
  identityOf,
  type NodeConfig,
} from '../../../services/shared/config/config.js';
import { contracts, type EventContract } from '../../../services/shared/contracts.js';
import { monotonicNs } from '../../../services/shared/process/clock.js';
import { keyLengthOf } from '../../../services/shared/protocols.js';
import { asService, freePort, NatsServer, nobody } from '../shared/nats_server.js';
import { longMs } from '../shared/waiting.js';
import { type Authority, type KeyPair, writeTls } from './certificates.js';

export const flowOf = (source: string, destination: string) => ({
  source: Buffer.from(parseAddress(source)),
  destination: Buffer.from(parseAddress(destination)),
});

/** Addresses of node a (1), b (2), c (3) ... */
export const nodeNumbers: Record<string, number> = { a: 1, b: 2, c: 3 };
export const underlayOf = (node: string): string => `192.0.2.${nodeNumbers[node]}`;

export class StandIn {
  epoch: bigint;
  version = 1;
  /** The number of its offers. */
  mode = Mode.MODE_TUNNEL;
  cookie = 0n;
  /** false: accepts are received and never answered. */
  answers = true;
  /** A code with which every accept is answered. */
  refuses = '';
  readonly accepts: { message: FlowAccept; keys: Buffer[] }[] = [];
  readonly installs: { message: FlowInstall; keys: Buffer[] }[] = [];
  readonly refusals: FlowRefuse[] = [];
  /** Greetings of peers, and their answers to ours. */
  readonly greetings: PeerGreeted[] = [];
  /** The peers that requested a rotation, and how each request is answered. */
  readonly rotations: string[] = [];
  rotates: () => KeysRotated = () => KeysRotated.fromPartial({ generation: 2 });
  /** Keys of offers by SPI, as copies. */
  readonly offered = new Map<number, Buffer>();
  #exchange = 0n;
  #number = 0n;
  #sealer: Sealer;
  readonly #opener: Opener;

  constructor(
    private readonly bus: Bus,
    private readonly node: string,
    secret: Buffer,
  ) {
    this.epoch = randomBytes(8).readBigUInt64BE() | 1n;
    this.#sealer = new Sealer(secret, node, 'dataplane');
    this.#opener = new Opener(secret, node, 'keyexchange');
  }

  /** Seals with this secret from now on. */
  useSecret(secret: Buffer): void {
    this.#sealer = new Sealer(secret, this.node, 'dataplane');
    this.#opener.addSecret(secret);
  }

  async start(): Promise<void> {
    this.bus.respond(contracts.flowAccept, (message) => this.#accept(message));
    this.bus.respond(contracts.flowInstall, (message) => this.#install(message));
    this.bus.respond(contracts.peerRotation, ({ peer }) => {
      this.rotations.push(peer);
      return this.rotates();
    });
    this.bus.respond(contracts.flowRefuse, (message) => {
      this.refusals.push(message);
      return { code: '', epoch: this.epoch };
    });
    this.bus.respond(contracts.peerGreeted, (message) => {
      if (!this.answers) return new Promise(() => undefined);
      this.greetings.push(message);
      return { code: '', epoch: this.epoch };
    });
    await this.bus.flush();
  }

  greet(peer: string, unknownSpis: number[] = [], publishedNs = monotonicNs()): void {
    this.bus.publish(contracts.peerGreet, { peer, epoch: this.epoch, publishedNs, unknownSpis });
  }

  /** Publishes a want; `change` modifies it after it was sealed. */
  want(
    peer: string,
    flows: { source: Buffer; destination: Buffer }[],
    options: {
      publishedNs?: bigint;
      stale?: boolean;
      change?: (want: FlowWanted) => void;
      twice?: boolean;
    } = {},
  ): FlowWanted {
    this.#exchange += 1n;
    const contract = options.stale ? contracts.flowStale : contracts.flowMissed;
    const { offers, keys } = this.#offers(flows.length, this.version);
    const bound = { exchange: this.#exchange, epoch: this.epoch, peer, flows };
    const seal = this.#sealer.seal(
      {
        ...bound,
        contract: contract.subject,
        node: this.node,
        sender: 'dataplane',
        role: 'offer',
        peerEpoch: undefined,
        offers,
      },
      keys,
    );
    const want: FlowWanted = {
      ...bound,
      publishedNs: options.publishedNs ?? monotonicNs(),
      reason: WantReason.WANT_REASON_MISS,
      offers,
      seal,
    };
    options.change?.(want);
    this.bus.publish(contract, want);
    if (options.twice) this.bus.publish(contract, want);
    return want;
  }

  announce(): void {
    this.bus.publish(contracts.dataplaneStarted, { epoch: this.epoch });
  }

  #offers(count: number, version: number): { offers: Offer[]; keys: Buffer[] } {
    const offers: Offer[] = [];
    const keys: Buffer[] = [];
    for (let i = 0; i < count; i++) {
      this.#number += 1n;
      const spi = randomBytes(4).readUInt32BE() | 1;
      const key = randomBytes(keyLengthOf(version));
      this.offered.set(spi >>> 0, Buffer.from(key));
      keys.push(key);
      offers.push({
        spi: spi >>> 0,
        version,
        number: this.#number,
        cookie: this.cookie,
        mode: this.mode,
        address: Buffer.from(parseAddress(underlayOf(this.node))),
        mac: Buffer.from(parseMac(`02:00:00:00:00:0${nodeNumbers[this.node]}`)),
      });
    }
    return { offers, keys };
  }

  #accept(message: FlowAccept): FlowAccepted | Promise<FlowAccepted> {
    const { flows, egress, peer, peerEpoch, epoch, seal } = message;
    const keys = this.#opener.open(
      {
        contract: contracts.flowAccept.subject,
        node: this.node,
        sender: 'keyexchange',
        epoch,
        role: 'egress',
        peer,
        exchange: 0n,
        peerEpoch,
        flows,
        offers: egress,
      },
      seal,
    );
    this.accepts.push({ message, keys });
    if (!this.answers) return new Promise(() => undefined);
    if (this.refuses !== '') return { code: this.refuses, epoch: this.epoch, offers: [], seal: undefined };
    if (epoch !== this.epoch) return { code: 'STALE', epoch: this.epoch, offers: [], seal: undefined };
    const made = this.#offers(flows.length, message.version);
    const answer = this.#sealer.seal(
      {
        contract: `${contracts.flowAccept.subject}/reply`,
        node: this.node,
        sender: 'dataplane',
        epoch: this.epoch,
        request: { start: seal?.start as Buffer, counter: seal?.counter as bigint },
        role: 'offer',
        peer,
        exchange: 0n,
        peerEpoch: undefined,
        flows,
        offers: made.offers,
      },
      made.keys,
    );
    return { code: '', epoch: this.epoch, offers: made.offers, seal: answer };
  }

  #install(message: FlowInstall): FlowInstalled {
    const { flows, egress, peer, peerEpoch, epoch, exchange } = message;
    const context = {
      node: this.node,
      sender: 'keyexchange',
      role: 'egress',
      epoch,
      peer,
      exchange,
    } as const;
    const keys = this.#opener.open(
      { ...context, contract: contracts.flowInstall.subject, peerEpoch, flows, offers: egress },
      message.seal,
    );
    this.installs.push({ message, keys });
    const results = flows.map(() => InstallResult.INSTALL_RESULT_INSTALLED);
    return { code: '', epoch: this.epoch, results };
  }
}

export interface NodeOptions {
  /** Ports of peers, and of this node, on loopback. */
  ports: Record<string, number>;
  /** Further lines of the node file. */
  extra?: string;
  /** Further keys of a peer in the node file, by its name: "mode: transport". */
  terms?: Record<string, string>;
  /** Deadlines of an exchange and of one call; the defaults if these are tested. */
  times?: { exchangeMs: number; callMs: number };
  /** keyExchange.limits of the node file: "requestsPerSecond: 5". */
  limits?: string;
  /** keyExchange.insecureReferenceListen. */
  insecureListen?: string;
  pair?: KeyPair;
  /** Content of ca.crt, if not that of the authority. */
  ca?: string;
}

/** Times that no exchange of a test reaches, however slow the machine is. */
export const unhurried = { exchangeMs: 30_000, callMs: 20_000 };

const nodeFile = (
  name: string,
  { ports, extra = '', terms = {}, times, limits, insecureListen }: NodeOptions,
  bus: string,
  audit: string,
): string => {
  const deadlines = times ? `, exchangeMs: ${times.exchangeMs}, callMs: ${times.callMs}` : '';
  const limited = limits === undefined ? '' : `, limits: { ${limits} }`;
  const insecure = insecureListen === undefined ? '' : `, insecureReferenceListen: "${insecureListen}"`;
  const n = nodeNumbers[name];
  const peers = Object.entries(ports)
    .filter(([peer]) => peer !== name)
    .map(([peer, port]) => {
      const m = nodeNumbers[peer];
      const more = terms[peer] === undefined ? '' : `, ${terms[peer]}`;
      return `  ${peer}: { endpoint: "127.0.0.1:${port}", vips: [10.${m}.0.0/22, "fd00:${m}::/64"]${more} }`;
    });
  return `node: ${name}
unsecured: { port: unused0 }
secured: { port: unused1, address: 192.0.2.${n}/24 }
keyExchange: { listen: "127.0.0.1:${ports[name]}"${deadlines}${limited}${insecure} }
vips: [10.${n}.0.0/22, "fd00:${n}::/64"]
bus: { listen: "${bus}" }
audit: { listen: "${audit}" }
peers:
${peers.join('\n')}
${extra}`;
};

/** A folder as `psp init` makes it, and its configuration. */
export async function makeFolder(
  name: string,
  authority: Authority,
  options: NodeOptions & { bus: string; audit?: string; password: string },
): Promise<{ folder: string; config: NodeConfig; secret: Buffer }> {
  const folder = mkdtempSync(join(tmpdir(), `psp-kx-${name}-`));
  const pair = options.pair ?? (await authority.gateway(identityOf('psp', name)));
  writeTls(folder, options.ca ?? authority.certificate, pair);
  mkdirSync(join(folder, 'nats'));
  const secret = randomBytes(32);
  const files = filesBeside(join(folder, 'node.yaml'));
  writeFileSync(files.busSecret, `${secret.toString('hex')}\n`, { mode: 0o640 });
  writeFileSync(join(files.passwords, 'keyexchange.password'), `${options.password}\n`, { mode: 0o640 });
  const content = `${nodeFile(name, options, options.bus, options.audit ?? nobody)}\nstateDir: ${folder}/state\n`;
  writeFileSync(files.config, content);
  const checked = checkConfig(content, files.config);
  if ('faults' in checked) throw new Error(JSON.stringify(checked.faults));
  return { folder, config: checked.config, secret };
}

export interface TestNode {
  name: string;
  /** With the node's files. */
  folder: string;
  nats: NatsServer;
  dataplane: StandIn;
  operator: Bus;
  /** Lines that the service logged, as objects. */
  lines: Record<string, unknown>[];
  /** Lines about exchanges that failed with this code. */
  linesOf(code: string): Record<string, unknown>[];
  status(): Promise<KeyExchangeStatus>;
  counter(name: string): Promise<number>;
  /** Octets on the subject of an event, as the dataplane's user. */
  sendRaw(contract: Pick<EventContract<unknown>, 'subject'>, octets: Buffer): Promise<void>;
  stop(): Promise<void>;
}

export async function startNode(name: string, authority: Authority, options: NodeOptions): Promise<TestNode> {
  const nats = await NatsServer.start(name);
  const made = await makeFolder(name, authority, {
    ...options,
    bus: nats.listen,
    audit: nats.auditListen,
    password: nats.passwords.keyexchange,
  });
  const lines: Record<string, unknown>[] = [];
  const sink = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      lines.push(JSON.parse(chunk.toString()));
      done();
    },
  });
  const dataplaneBus = await nats.connect('dataplane', {
    ...asService,
    onFault: (_subject, error) => lines.push({ error }),
  });
  const dataplane = new StandIn(dataplaneBus, name, made.secret);
  await dataplane.start();
  const operator = await nats.connect('operator');
  const service: KeyExchange = await startKeyExchange(sliceOf(made.config), pino({ level: 'debug' }, sink));
  await service.joined;
  const status = async (): Promise<KeyExchangeStatus> => {
    const answers = await operator.requestAll(contracts.keyexchangeStatus, {}, 200, longMs);
    return answers[0] as KeyExchangeStatus;
  };
  return {
    name,
    folder: made.folder,
    nats,
    dataplane,
    operator,
    lines,
    linesOf: (code) => lines.filter((line) => line.code === code && line.msg === 'key exchange failed'),
    status,
    counter: async (counter) => {
      const { counters } = await status();
      return Number(counters.find((row) => row.name === counter)?.value ?? 0n);
    },
    sendRaw: async (contract, octets) => {
      const raw = await nats.connect('dataplane');
      raw.publish(
        {
          ...contracts.flowMissed,
          ...contract,
          payload: { encode: () => ({ finish: () => octets }) } as never,
        },
        {} as never,
      );
      await raw.close();
    },
    stop: async () => {
      await service.stop();
      await operator.close();
      await dataplaneBus.close();
      await nats.remove();
      rmSync(made.folder, { recursive: true });
    },
  };
}

/** A free port for each node. */
export async function freePorts(...names: string[]): Promise<Record<string, number>> {
  const ports: Record<string, number> = {};
  for (const name of names) ports[name] = await freePort();
  return ports;
}
