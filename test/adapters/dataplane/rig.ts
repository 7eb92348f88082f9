// SPDX-License-Identifier: Apache-2.0
// A dataplane on a real bus with an engine that moves no packets, and a key exchange that the test speaks for.
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import {
  type FlowAccept,
  type FlowAccepted,
  type FlowInstall,
  type FlowInstalled,
  type FlowRefused,
  type FlowWanted,
  Mode,
  type Offer,
  type PeerGreet,
  type PeerGreeted,
  type PeerGreetedReply,
  type Seal,
} from '../../../proto/gen/bus.js';
import { startDataplane } from '../../../services/dataplane/service.js';
import { flowKeyOf, mapped, parseAddress } from '../../../services/shared/address.js';
import type { Bus } from '../../../services/shared/bus/bus.js';
import { Opener, type SealContext, Sealer } from '../../../services/shared/bus/seal.js';
import type { BusStream } from '../../../services/shared/bus/stream.js';
import { checkConfig } from '../../../services/shared/config/config.js';
import { contracts } from '../../../services/shared/contracts.js';
import { keyLengthOf } from '../../../services/shared/protocols.js';
import type { RunningService } from '../../../services/shared/service/service_process.js';
import { until } from '../../e2e/namespace.js';
import { AuditServer, NatsServer } from '../shared/nats_server.js';
import { longMs } from '../shared/waiting.js';
import { FakeEngine } from './engine.js';

export const theirs = 900n;

export interface Rig {
  /** With the node's files. */
  folder: string;
  /** The text of the node file. */
  nodeFile: string;
  engine: FakeEngine;
  dataplane: RunningService;
  nats: NatsServer;
  audit: AuditServer;
  /** The audit stream as the operator reads it. */
  auditStream: BusStream;
  operator: Bus;
  keyexchange: KeyExchange;
  /** What was logged, from warnings up. */
  lines(): { code?: string; err?: string; level?: number; msg?: string; suppressed?: number }[];
  /** Kills nats-server; resolves once everybody here has noticed. */
  busIsAway(): Promise<void>;
  close(): Promise<void>;
}

/** A flow from a VIP of ours to one of peer b. */
export const flow = (i: number) => ({
  source: Buffer.from([10, 1, 0, 1]),
  destination: Buffer.from([10, 2, 0, i]),
});

export const missed = (...numbers: number[]) =>
  numbers.map((i) => ({
    type: 'missed' as const,
    flow: Buffer.concat([mapped(flow(i).source), mapped(flow(i).destination)]),
    peer: 0,
  }));

export const keyOf = (i: number) => flowKeyOf(flow(i));

/** @param terms further keys of peer b; @param more further keys of the node file, both as flow mappings. */
export async function startRig({ engineMs = '', busFirst = true, terms = '', more = '' } = {}): Promise<Rig> {
  const folder = mkdtempSync(join(tmpdir(), 'psp-dataplane-'));
  const nats = await NatsServer.create('a');
  const audit = await AuditServer.start('a');
  if (busFirst) await nats.start();
  const secret = randomBytes(32);
  writeFileSync(join(folder, 'bus.secret'), `${secret.toString('hex')}\n`, { mode: 0o640 });
  mkdirSync(join(folder, 'nats'));
  writeFileSync(join(folder, 'nats/dataplane.password'), `${nats.passwords.dataplane}\n`, { mode: 0o640 });
  const nodeFile = `{ node: a, unsecured: { port: net_null0 }, secured: { port: net_null1, address: 192.0.2.1/24 },
       keyExchange: { listen: "127.0.0.1:1" }, vips: [10.1.0.0/24], bus: { listen: "${nats.listen}" },
       audit: { listen: "${audit.listen}" },
       peers: { b: { endpoint: "127.0.0.1:2", vips: [10.2.0.0/24]${terms && `, ${terms}`} } },
       engine: { drainMs: 100 ${engineMs} }, ${more && `${more}, `} stateDir: ${folder}/state }`;
  const checked = checkConfig(nodeFile, join(folder, 'node.yaml'));
  if ('faults' in checked) throw new Error(JSON.stringify(checked.faults));
  const logged: string[] = [];
  const log = { write: (line: string) => logged.push(line) };
  let engine: FakeEngine | undefined;
  const dataplane = await startDataplane(
    checked.config,
    pino({ level: 'warn' }, log),
    () => ({ dropped: false, reason: 'test' }),
    (config, _, listener) => {
      engine = new FakeEngine(config, listener);
      return engine.wrapped();
    },
  );
  const fake = engine as FakeEngine;
  if (!busFirst) {
    fake.emit(...missed(1));
    await nats.start();
  }
  const operator = await nats.connect('operator');
  const auditStream = await audit.stream('operator');
  const keyexchange = new KeyExchange(await nats.connect('keyexchange'), secret);
  await keyexchange.ready();
  await until('the dataplane answers', () =>
    operator.request(contracts.dataplaneStatus, {}, 2000).then(
      ({ epoch }) => {
        keyexchange.epoch = epoch;
        return true;
      },
      () => false,
    ),
  );
  return {
    folder,
    nodeFile,
    engine: fake,
    dataplane,
    nats,
    audit,
    auditStream,
    operator,
    keyexchange,
    lines: () => logged.map((line) => JSON.parse(line)),
    busIsAway: async () => {
      await nats.stop('SIGKILL');
      // All connections of this process end in the same turn of its loop, or the next.
      await until('the bus is away', () => !operator.connected && !keyexchange.bus.connected);
      await delay(200);
    },
    close: async () => {
      await dataplane.stop();
      await Promise.all([operator.close(), keyexchange.bus.close()]);
      await auditStream.close();
      await nats.remove();
      await audit.remove();
      rmSync(folder, { recursive: true });
    },
  };
}

/** The key exchange as the dataplane sees it. */
export class KeyExchange {
  epoch = 0n;
  readonly wants: { subject: string; want: FlowWanted; keys: Buffer[] }[] = [];
  readonly started: bigint[] = [];
  readonly greetings: PeerGreet[] = [];
  #sealer: Sealer;
  readonly #opener: Opener;
  #number = 0;

  constructor(
    readonly bus: Bus,
    secret: Buffer,
  ) {
    this.#sealer = new Sealer(secret, 'a', 'keyexchange');
    this.#opener = new Opener(secret, 'a', 'dataplane');
    bus.receive(contracts.dataplaneStarted, ({ epoch }) => {
      this.started.push(epoch);
    });
    bus.receive(contracts.peerGreet, (greet) => {
      this.greetings.push(greet);
    });
    for (const contract of [contracts.flowMissed, contracts.flowStale]) {
      bus.receive(contract, (want) => {
        const { epoch, peer, exchange, flows, offers } = want;
        const context = { epoch, peer, exchange, flows, offers, contract: contract.subject };
        this.wants.push({
          subject: contract.subject,
          want,
          keys: this.#opener.open(
            { ...context, node: 'a', sender: 'dataplane', role: 'offer', peerEpoch: undefined },
            want.seal,
          ),
        });
      });
    }
  }

  /** Seals with this secret from now on. */
  useSecret(secret: Buffer): void {
    this.#sealer = new Sealer(secret, 'a', 'keyexchange');
    this.#opener.addSecret(secret);
  }

  ready(): Promise<void> {
    return this.bus.flush();
  }

  /** The n-th want, as soon as it is there. */
  want(n: number): Promise<KeyExchange['wants'][number]> {
    return until(`want ${n} came`, () => this.wants[n - 1], longMs, 5);
  }

  offer(number = ++this.#number): Offer {
    return {
      spi: 0x100 + number,
      version: 1,
      number: BigInt(number),
      cookie: 0n,
      mode: Mode.MODE_TUNNEL,
      address: Buffer.from(parseAddress('192.0.2.2')),
      mac: Buffer.from('020000000002', 'hex'),
    };
  }

  /** An accept that was not sent yet; sealed as it stands. */
  acceptOf(flows: FlowAccept['flows'], egress: Offer[], changes: Partial<FlowAccept> = {}): FlowAccept {
    const message = {
      peer: 'b',
      epoch: this.epoch,
      peerEpoch: theirs,
      version: 1,
      flows,
      egress,
      ...changes,
    };
    const { peer, epoch, peerEpoch } = message;
    const context = {
      contract: 'cmd.flow.accept',
      peer,
      epoch,
      peerEpoch,
      exchange: 0n,
      flows,
      offers: egress,
    };
    return { ...message, seal: this.#seal(context) };
  }

  accept(message: FlowAccept): Promise<FlowAccepted> {
    return this.bus.request(contracts.flowAccept, message, longMs);
  }

  /** The keys of an answer; throws when its seal binds anything else than what was asked. */
  openAnswer(request: FlowAccept, answer: FlowAccepted): Buffer[] {
    const { start, counter } = request.seal as Seal;
    return this.#opener.open(
      {
        contract: 'cmd.flow.accept/reply',
        node: 'a',
        sender: 'dataplane',
        epoch: answer.epoch,
        request: { start, counter },
        role: 'offer',
        peer: request.peer,
        exchange: 0n,
        peerEpoch: undefined,
        flows: request.flows,
        offers: answer.offers,
      },
      answer.seal,
    );
  }

  installOf({ exchange, epoch, peer, flows }: FlowWanted, changes: Partial<FlowInstall> = {}): FlowInstall {
    const egress = flows.map(() => this.offer());
    const message = { exchange, epoch, peer, flows, egress, peerEpoch: theirs, ...changes };
    const { egress: offers, ...context } = message;
    return { ...message, seal: this.#seal({ ...context, offers, contract: 'cmd.flow.install' }) };
  }

  install(message: FlowInstall): Promise<FlowInstalled> {
    return this.bus.request(contracts.flowInstall, message, longMs);
  }

  /** A peer greeted us, or answered our greeting. */
  greeted(message: Partial<PeerGreeted>): Promise<PeerGreetedReply> {
    const greeted = { peer: 'b', peerEpoch: theirs, answeredEpoch: undefined, unknownSpis: [], ...message };
    return this.bus.request(contracts.peerGreeted, greeted, longMs);
  }

  refuse({ exchange, epoch, peer, flows }: FlowWanted): Promise<FlowRefused> {
    const message = { exchange, epoch, peer, flows, refusal: 'PEER_REFUSED' };
    return this.bus.request(contracts.flowRefuse, message, longMs);
  }

  #seal(context: Omit<SealContext, 'node' | 'sender' | 'role'>): Seal {
    const keys = context.offers.map(({ version }) => randomBytes(keyLengthOf(version)));
    return this.#sealer.seal({ ...context, node: 'a', sender: 'keyexchange', role: 'egress' }, keys);
  }
}
