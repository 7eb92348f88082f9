// SPDX-License-Identifier: Apache-2.0
// The dataplane over the bus: wants are received, commands are sent, and keys travel only in seals.
import type {
  ExchangeTrace,
  Flow,
  FlowAccept,
  FlowWanted,
  InstallResult,
  Offer,
  PeerGreet,
  Seal,
} from '../../../proto/gen/bus.js';
import type { GreetRequest } from '../../../proto/gen/psp_peer.js';
import type { Bus } from '../../shared/bus/bus.js';
import { Opener, type SealContext, Sealer } from '../../shared/bus/seal.js';
import { contracts } from '../../shared/contracts.js';
import { type ErrorCode, isErrorCode, PspError } from '../../shared/errors.js';
import type { BusSecretFile, SecretUser } from '../../shared/service/bus_secret_file.js';
import type { Acceptance } from '../core/acceptance.js';
import { pairUp } from '../core/parameters.js';
import type { Egress } from '../core/peer_request.js';

export type WantContract = typeof contracts.flowMissed | typeof contracts.flowStale;

/** The result of an accept: offers, or nothing because the current epoch is another. */
export type Accepted =
  | { stale: false; epoch: bigint; offers: Offer[]; keys: Buffer[] }
  | { stale: true; epoch: bigint };

export class DataplaneClient implements SecretUser {
  #sealer: Sealer;
  readonly #opener: Opener;

  /** @param octets of the bus secret; they are wiped. @param secretFile has later secrets. */
  constructor(
    private readonly bus: Bus,
    private readonly node: string,
    octets: Buffer,
    private readonly secretFile: Pick<BusSecretFile, 'opening'>,
  ) {
    this.#sealer = new Sealer(octets, node, 'keyexchange');
    this.#opener = new Opener(octets, node, 'dataplane');
    octets.fill(0);
  }

  addSecret(octets: Buffer): void {
    this.#sealer.wipe();
    this.#sealer = new Sealer(octets, this.node, 'keyexchange');
    this.#opener.addSecret(octets);
  }

  retireSecret(): void {
    this.#opener.retireSecret();
  }

  /** Ends all seals, for the end of the process. */
  wipe(): void {
    this.#sealer.wipe();
    this.#opener.wipe();
  }

  /** Receives the epoch of each start of the dataplane. */
  onStarted(handler: (epoch: bigint) => void): void {
    this.bus.receive(contracts.dataplaneStarted, ({ epoch }) => handler(epoch));
  }

  /** Receives every want that the bus assigns to this replica. */
  onWant(handler: (want: FlowWanted, contract: WantContract) => void): void {
    for (const contract of [contracts.flowMissed, contracts.flowStale]) {
      this.bus.receive(contract, (want) => handler(want, contract));
    }
  }

  /** Answers queries of the operator for the steps of our exchanges about a flow. */
  onTrace(read: (flow: Flow) => ExchangeTrace[]): void {
    this.bus.respond(contracts.keyexchangeTrace, ({ flow }) => ({
      exchanges: flow === undefined ? [] : read(flow),
    }));
  }

  /** Receives every greeting that the bus assigns to this replica. */
  onGreet(handler: (greet: PeerGreet) => void): void {
    this.bus.receive(contracts.peerGreet, handler);
  }

  /** A peer greeted us. @returns our epoch. @throws PspError as `accept`. */
  async greeted(peer: string, { epoch, unknownSpis }: GreetRequest, timeoutMs: number): Promise<bigint> {
    const { subject } = contracts.peerGreeted;
    const message = { peer, peerEpoch: epoch, answeredEpoch: undefined, unknownSpis };
    const answer = await this.bus.request(contracts.peerGreeted, message, timeoutMs);
    if (answer.code !== '') throw refusalOf(answer.code, subject, answer.epoch);
    return answer.epoch;
  }

  /**
   * A peer answered a greeting; without an epoch its application does not know greetings.
   * @throws PspError as `accept`, STALE among them.
   */
  async greetingAnswered(
    { peer, epoch }: PeerGreet,
    peerEpoch: bigint | undefined,
    timeoutMs: number,
  ): Promise<void> {
    const { subject } = contracts.peerGreeted;
    const message = { peer, peerEpoch, answeredEpoch: epoch, unknownSpis: [] };
    const { code } = await this.bus.request(contracts.peerGreeted, message, timeoutMs);
    if (code !== '') throw refusalOf(code, subject, epoch);
  }

  /** The keys of want.offers; the caller wipes them. @throws PspError SEAL_INVALID or REPLAY. */
  openWant(want: FlowWanted, contract: WantContract): Buffer[] {
    return this.#open(
      {
        contract: contract.subject,
        node: this.node,
        sender: 'dataplane',
        epoch: want.epoch,
        role: 'offer',
        peer: want.peer,
        exchange: want.exchange,
        peerEpoch: undefined,
        flows: want.flows,
        offers: want.offers,
      },
      want.seal,
    );
  }

  /**
   * Sends a peer's egress keys and requests offers, once.
   * @param epoch of the dataplane; in any other one the command is stale.
   * @throws PspError SERVICE_DOWN, SERVICE_TIMEOUT without an answer in time, or the code of the answer.
   */
  async accept(peer: string, epoch: bigint, acceptance: Acceptance, timeoutMs: number): Promise<Accepted> {
    const { flows, egress: offers, keys, peerEpoch, version } = acceptance;
    const bound = { peer, epoch, peerEpoch, flows };
    const seal = this.#seal(
      { ...bound, contract: contracts.flowAccept.subject, exchange: 0n, offers },
      keys.map((key) => Buffer.from(key)),
    );
    const request: FlowAccept = { ...bound, version, egress: offers, seal };
    const answer = await this.bus.request(contracts.flowAccept, request, timeoutMs);
    if (answer.code === 'STALE') return { stale: true, epoch: answer.epoch };
    if (answer.code !== '') throw refusalOf(answer.code, contracts.flowAccept.subject, answer.epoch);
    if (!pairUp(flows, answer.offers)) {
      throw new PspError('PAYLOAD_INVALID', {
        subject: contracts.flowAccept.subject,
        detail: `${answer.offers.length} offers for ${flows.length} flows`,
      });
    }
    const opened = this.#open(
      {
        contract: `${contracts.flowAccept.subject}/reply`,
        node: this.node,
        sender: 'dataplane',
        epoch: answer.epoch,
        request: { start: seal.start, counter: seal.counter },
        role: 'offer',
        peer,
        exchange: 0n,
        peerEpoch: undefined,
        flows,
        offers: answer.offers,
      },
      answer.seal,
    );
    return { stale: false, epoch: answer.epoch, offers: answer.offers, keys: opened };
  }

  /**
   * Answers a want with egress keys, which are wiped.
   * @returns the result for each flow. @throws PspError as `accept`, STALE among them.
   */
  async install(want: FlowWanted, egress: Egress, timeoutMs: number): Promise<InstallResult[]> {
    const { exchange, epoch, peer, flows } = want;
    const bound = { exchange, epoch, peer, flows, peerEpoch: egress.peerEpoch };
    const seal = this.#seal(
      { ...bound, contract: contracts.flowInstall.subject, offers: egress.offers },
      egress.keys,
    );
    const request = { ...bound, egress: egress.offers, seal };
    const answer = await this.bus.request(contracts.flowInstall, request, timeoutMs);
    if (answer.code !== '') throw refusalOf(answer.code, contracts.flowInstall.subject, epoch);
    return answer.results;
  }

  /** Answers a want with a peer's refusal. @throws PspError as `install`. */
  async refuse(want: FlowWanted, refusal: ErrorCode, timeoutMs: number): Promise<void> {
    const { exchange, epoch, peer, flows } = want;
    const answer = await this.bus.request(
      contracts.flowRefuse,
      { exchange, epoch, peer, flows, refusal },
      timeoutMs,
    );
    if (answer.code !== '') throw refusalOf(answer.code, contracts.flowRefuse.subject, epoch);
  }

  /**
   * A peer that is authorized for it requests a rotation.
   * @throws PspError ROTATION_PENDING, ROTATION_LIMITED, ENGINE_BUSY, SERVICE_DOWN or SERVICE_TIMEOUT.
   */
  async rotate(peer: string, timeoutMs: number): Promise<void> {
    const answer = await this.bus.request(contracts.peerRotation, { peer }, timeoutMs);
    const { code, unansweredFlows: unanswered, drainLeftMs: ms, cutFlows: cut } = answer;
    if (code !== '') throw new PspError('ROTATION_PENDING', { unanswered, ms, cut });
  }

  #open(context: SealContext, seal: Seal | undefined): Buffer[] {
    return this.secretFile.opening(() => this.#opener.open(context, seal));
  }

  #seal(context: Omit<SealContext, 'node' | 'sender' | 'role'>, keys: Buffer[]) {
    return this.#sealer.seal({ ...context, node: this.node, sender: 'keyexchange', role: 'egress' }, keys);
  }
}

/** The error for a code of the dataplane's answer, which has no data, with the data known here. */
function refusalOf(code: string, subject: string, epoch: bigint): PspError {
  const table = 'flow table or the table of receive SPIs';
  const detail = `the dataplane answered ${subject} with ${isErrorCode(code) ? code : 'an unknown code'}`;
  return new PspError(isErrorCode(code) ? code : 'ENGINE_FAILED', { epoch, subject, table, detail });
}
