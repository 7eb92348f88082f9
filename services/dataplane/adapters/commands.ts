// SPDX-License-Identifier: Apache-2.0
// The commands of the bus: accept, install, refuse, rotate, sampling. Those about flows check their epoch first
// (another one is STALE: nothing was opened, nothing done), open the seal, let the arbiter decide, and have the
// chosen rows installed. An accept that succeeds tells the peer that its keys are used from now on, and the peer
// may wipe older ones; so when its keys cannot be put in place it takes its offers back and fails. A flow for
// which the table has no room fails nothing: it has no older key, and its peer can send. Expected failures are
// codes in the answer.
import {
  type FlowAccept,
  type FlowAccepted,
  type FlowInstall,
  type FlowInstalled,
  type Flow as FlowMessage,
  type FlowRefuse,
  type FlowRefused,
  InstallResult,
  type KeysRotated,
  type Offer,
  type SamplingSet,
  type SamplingState,
  type Seal,
} from '../../../proto/gen/bus.js';
import { type FlowKey, flowKeyOf, isReservedSpi } from '../../shared/address.js';
import { contracts } from '../../shared/contracts.js';
import { isErrorCode, PspError } from '../../shared/errors.js';
import { LineGate } from '../../shared/line_gate.js';
import { monotonicMs } from '../../shared/process/clock.js';
import type { Logger } from '../../shared/process/log.js';
import type { DataplaneConfig, Terms } from '../config.js';
import type { Arbiter } from '../core/arbiter.js';
import type { InstallOutcome, KeyOrder } from '../core/facts.js';
import type { Auditor } from './audit_report.js';
import type { Engine } from './engine.js';
import type { Executor } from './executor.js';

/** Flows in one message; keyexchange takes no larger batch from a peer. */
const flowsLimit = 1024;
/** One of 65 536 packets. */
const samplingLimit = 16;

const resultOf: Record<InstallOutcome, InstallResult> = {
  installed: InstallResult.INSTALL_RESULT_INSTALLED,
  notInFlight: InstallResult.INSTALL_RESULT_NOT_IN_FLIGHT,
  superseded: InstallResult.INSTALL_RESULT_SUPERSEDED,
};

const noOffers: Pick<FlowAccepted, 'offers' | 'seal'> = { offers: [], seal: undefined };

export class Commands {
  readonly #gate = new LineGate();

  constructor(
    private readonly config: Pick<DataplaneConfig, 'peers' | 'terms'>,
    private readonly arbiter: Arbiter,
    private readonly engine: Engine,
    private readonly executor: Executor,
    private readonly auditor: Auditor,
    private readonly log: Logger,
  ) {}

  accept(message: FlowAccept): Promise<FlowAccepted> {
    return this.#answered(message.epoch, noOffers, async () => {
      const { subject } = contracts.flowAccept;
      const { epoch, version, egress } = message;
      const { peer, flows, seal } = this.#checked(subject, message, egress);
      if (!this.#terms(peer).versions.includes(version))
        throw malformed(subject, `version ${version} is not spoken`);
      const binding = { epoch, peer: message.peer, exchange: 0n };
      const keys = this.engine.open(
        flows,
        egress,
        { ...binding, ...bound(subject, message.peerEpoch) },
        seal,
      );
      const reply = { ...binding, contract: `${subject}/reply`, request: seal };
      const made = await this.engine.offer(flows, peer, version, reply).catch((error: unknown) => {
        keys.release();
        if (error instanceof PspError)
          this.executor.tell({ type: 'offerFailed', exchange: 0n, code: error.code });
        throw error;
      });
      const { offers, generation } = made;
      const spis = offers.map(({ spi }) => spi);
      this.executor.tell({ type: 'acceptOffered', peer, flows, generation, spis });
      const order = egress.map((offer) => orderOf(offer, message.peerEpoch));
      const decision = this.arbiter.accept({ peer, flows, order }, monotonicMs());
      const given = { peer, asked: 'peer', egress } as const;
      const installing = this.executor.install(keys, flows, decision, given).catch((error: unknown) => {
        this.executor.tell({ type: 'acceptFailed', flows, spis });
        throw error;
      });
      this.executor.perform(decision.actions);
      await installing;
      return { offers, seal: made.seal };
    });
  }

  install(message: FlowInstall): Promise<FlowInstalled> {
    return this.#answered(message.epoch, { results: [] }, async () => {
      const { subject } = contracts.flowInstall;
      const { epoch, exchange, egress } = message;
      const { peer, flows, seal } = this.#checked(subject, message, egress);
      if (egress.length === 0) throw malformed(subject, 'it holds no keys');
      const binding = { epoch, peer: message.peer, exchange, ...bound(subject, message.peerEpoch) };
      const keys = this.engine.open(flows, egress, binding, seal);
      const order = egress.map((offer) => orderOf(offer, message.peerEpoch));
      const decision = this.arbiter.install({ exchange, peer, flows, order }, monotonicMs());
      const installing = this.executor.install(keys, flows, decision, { peer, asked: 'us', egress });
      this.executor.perform(decision.actions);
      const placed = await installing;
      return { results: decision.outcomes.map((outcome, row) => placed.get(row) ?? resultOf[outcome]) };
    });
  }

  refuse(message: FlowRefuse): Promise<FlowRefused> {
    return this.#answered(message.epoch, {}, async () => {
      const { exchange, refusal } = message;
      const code = isErrorCode(refusal) ? refusal : 'PEER_REFUSED';
      const peer = this.#peer(contracts.flowRefuse.subject, message.peer);
      const flows = flowsOf(contracts.flowRefuse.subject, message.flows);
      this.executor.perform(this.arbiter.refuse({ exchange, peer, flows, code }, monotonicMs()));
      return {};
    });
  }

  async rotate(): Promise<KeysRotated> {
    const unanswered = this.arbiter.gauges().unansweredFlows;
    const wait = this.arbiter.rotate(monotonicMs());
    const { generation } = this.arbiter;
    if (wait !== undefined) {
      return {
        code: 'ROTATION_PENDING',
        generation,
        unansweredFlows: wait.unanswered,
        drainLeftMs: wait.drainLeftMs,
        reofferedFlows: 0,
      };
    }
    try {
      const rotated = await this.engine.rotate();
      this.executor.tell({ type: 'rotated', generation: rotated });
      if (unanswered > 0) this.log.warn({ flows: unanswered }, 'rotation cut flows that had not answered');
      this.log.info({ generation: rotated }, 'keys rotated');
      const reofferedFlows = this.arbiter.gauges().unansweredFlows;
      return { code: '', generation: rotated, unansweredFlows: 0, drainLeftMs: 0, reofferedFlows };
    } catch (error) {
      this.executor.tell({ type: 'rotateFailed' });
      throw error;
    }
  }

  /** Answers with the rate after the command, which is the old one when it was not done. */
  async sampling({ egressLog2, peer: name }: SamplingSet): Promise<SamplingState> {
    const { subject } = contracts.samplingSet;
    let peer: number | undefined;
    try {
      if (name !== '') peer = this.#peer(subject, name);
      if (egressLog2 !== undefined && egressLog2 > samplingLimit)
        throw malformed(subject, `one of 2^${egressLog2} packets, 2^0 to 2^${samplingLimit} are taken`);
      const { from, changed } = await this.engine.sampling(egressLog2, peer);
      if (changed) {
        this.auditor.samplingChanged(from, egressLog2, peer);
        this.log.info(
          { egressLog2: egressLog2 ?? 'off', ...(peer !== undefined && { peer: name }) },
          'sampling changed',
        );
      }
      return { code: '', egressLog2 };
    } catch (error) {
      return { code: this.#told(error), egressLog2: this.engine.samplingLog2(peer) };
    }
  }

  /** Runs a command of the current epoch; an expected failure becomes the answer's code. */
  async #answered<T>(
    claimed: bigint,
    nothing: T,
    work: () => Promise<T>,
  ): Promise<T & { code: string; epoch: bigint }> {
    const { epoch } = this.arbiter;
    if (!this.arbiter.isCurrent(claimed)) return { ...nothing, code: 'STALE', epoch };
    try {
      return { ...(await work()), code: '', epoch };
    } catch (error) {
      return { ...nothing, code: this.#told(error), epoch };
    }
  }

  /** Logs why a command was not done. @returns the code. @throws what is no expected failure. */
  #told(error: unknown): string {
    if (!(error instanceof PspError)) throw error;
    const suppressed = this.#gate.pass(error.code, monotonicMs());
    if (suppressed !== undefined) {
      this.log.warn({ code: error.code, err: error.message, suppressed }, 'command not done');
    }
    return error.code;
  }

  #checked(
    subject: string,
    message: { peer: string; flows: FlowMessage[]; seal: Seal | undefined },
    egress: readonly Offer[],
  ): { peer: number; flows: FlowKey[]; seal: Seal } {
    const { seal } = message;
    if (seal === undefined || seal.start.length !== 32) throw new PspError('SEAL_INVALID');
    const flows = flowsOf(subject, message.flows);
    if (egress.length !== 0 && egress.length !== flows.length) {
      throw malformed(subject, `${egress.length} keys for ${flows.length} flows`);
    }
    if (!egress.every(isOffer)) throw malformed(subject, 'an offer is malformed');
    const peer = this.#peer(subject, message.peer);
    const { versions, mode } = this.#terms(peer);
    if (!egress.every((offer) => versions.includes(offer.version) && offer.mode === mode))
      throw malformed(subject, `an offer has not the version and mode of peer ${message.peer}`);
    if (new Set(egress.map(({ spi }) => spi)).size < egress.length)
      throw malformed(subject, 'two of its keys have one SPI');
    return { peer, flows, seal };
  }

  #terms(peer: number): Terms {
    return this.config.terms[peer] as Terms;
  }

  #peer(subject: string, name: string): number {
    const peer = this.config.peers.indexOf(name);
    if (peer < 0) throw malformed(subject, `there is no peer ${name}`);
    return peer;
  }
}

const malformed = (subject: string, detail: string) => new PspError('PAYLOAD_INVALID', { subject, detail });

const isAddress = (octets: Uint8Array): boolean => octets.length === 4 || octets.length === 16;

const isOffer = ({ spi, address, mac }: Offer): boolean =>
  !isReservedSpi(spi) && isAddress(address) && mac.length === 6;

function flowsOf(subject: string, flows: readonly FlowMessage[]): FlowKey[] {
  if (flows.length === 0 || flows.length > flowsLimit) {
    throw malformed(subject, `${flows.length} flows, 1 to ${flowsLimit} are taken`);
  }
  return flows.map((flow) => {
    if (!isAddress(flow.source) || flow.source.length !== flow.destination.length) {
      throw malformed(subject, 'a flow has no two addresses of one family');
    }
    return flowKeyOf(flow);
  });
}

const bound = (contract: string, peerEpoch: bigint | undefined) => ({
  contract,
  ...(peerEpoch !== undefined && { peerEpoch }),
});

const orderOf = ({ number }: Offer, epoch: bigint | undefined): KeyOrder => ({ epoch, number });
