// SPDX-License-Identifier: Apache-2.0
// The dataplane as we see it over the bus: wants come, commands go, keys only under a seal. Remembers the
// epoch that was seen last; epochs have no order, so the last word counts, and 0 stands for not known yet.
import type { FlowAccept, FlowWanted, InstallResult, Offer } from '../../../proto/gen/bus.js';
import type { Bus } from '../../shared/bus/bus.js';
import { Opener, type SealContext, Sealer } from '../../shared/bus/seal.js';
import { contracts } from '../../shared/contracts.js';
import { type ErrorCode, isErrorCode, PspError } from '../../shared/errors.js';
import type { Acceptance } from '../core/acceptance.js';
import { pairUp } from '../core/parameters.js';
import type { Egress } from '../core/peer_request.js';

export type WantContract = typeof contracts.flowMissed | typeof contracts.flowStale;

/** What became of an accept: offers, or word that nothing was done because the epoch was not `epoch`. */
export type Accepted =
  | { stale: false; epoch: bigint; offers: Offer[]; keys: Buffer[] }
  | { stale: true; epoch: bigint };

export class DataplaneClient {
  #epoch = 0n;
  readonly #sealer: Sealer;
  readonly #opener: Opener;

  constructor(
    private readonly bus: Bus,
    private readonly node: string,
    secret: Uint8Array,
  ) {
    this.#sealer = new Sealer(secret, node, 'keyexchange');
    this.#opener = new Opener(secret, node, 'dataplane');
    bus.receive(contracts.dataplaneStarted, ({ epoch }) => {
      this.#epoch = epoch;
    });
  }

  /** Hears every want that falls to this replica. */
  onWant(handler: (want: FlowWanted, contract: WantContract) => void): void {
    for (const contract of [contracts.flowMissed, contracts.flowStale]) {
      this.bus.receive(contract, (want) => handler(want, contract));
    }
  }

  /** The keys of want.offers; the caller wipes them. @throws PspError SEAL_INVALID or REPLAY. */
  openWant(want: FlowWanted, contract: WantContract): Buffer[] {
    const keys = this.#opener.open(
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
    this.#epoch = want.epoch;
    return keys;
  }

  /**
   * Hands a peer's egress keys over and asks for offers, once.
   * @throws PspError SERVICE_DOWN, SERVICE_TIMEOUT when there is no answer in time, or the code of one that says no.
   */
  async accept(peer: string, acceptance: Acceptance, timeoutMs: number): Promise<Accepted> {
    const { flows, egress: offers, keys, peerEpoch, version } = acceptance;
    const bound = { peer, epoch: this.#epoch, peerEpoch, flows };
    const seal = this.#seal(
      { ...bound, contract: contracts.flowAccept.subject, exchange: 0n, offers },
      keys.map((key) => Buffer.from(key)),
    );
    const request: FlowAccept = { ...bound, version, egress: offers, seal };
    const answer = await this.bus.request(contracts.flowAccept, request, timeoutMs);
    if (answer.epoch !== 0n) this.#epoch = answer.epoch;
    if (answer.code === 'STALE') return { stale: true, epoch: answer.epoch };
    if (answer.code !== '') throw refusalOf(answer.code, contracts.flowAccept.subject, answer.epoch);
    if (!pairUp(flows, answer.offers)) {
      throw new PspError('PAYLOAD_INVALID', {
        subject: contracts.flowAccept.subject,
        detail: `${answer.offers.length} offers for ${flows.length} flows`,
      });
    }
    const opened = this.#opener.open(
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
   * Answers a want. The keys are wiped.
   * @returns what was done for each flow. @throws PspError as `accept`, STALE among them.
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

  /** Passes a peer's refusal on. @throws PspError as `install`. */
  async refuse(want: FlowWanted, refusal: ErrorCode, timeoutMs: number): Promise<void> {
    const { exchange, epoch, peer, flows } = want;
    const answer = await this.bus.request(
      contracts.flowRefuse,
      { exchange, epoch, peer, flows, refusal },
      timeoutMs,
    );
    if (answer.code !== '') throw refusalOf(answer.code, contracts.flowRefuse.subject, epoch);
  }

  #seal(context: Omit<SealContext, 'node' | 'sender' | 'role'>, keys: Buffer[]) {
    return this.#sealer.seal({ ...context, node: this.node, sender: 'keyexchange', role: 'egress' }, keys);
  }
}

/** A code of the dataplane's answer, which comes without data, with what is known of it here. */
function refusalOf(code: string, subject: string, epoch: bigint): PspError {
  const table = 'flow table or the table of receive SPIs';
  const detail = `the dataplane answered ${subject} with ${isErrorCode(code) ? code : 'an unknown code'}`;
  return new PspError(isErrorCode(code) ? code : 'ENGINE_FAILED', { epoch, subject, table, detail });
}
