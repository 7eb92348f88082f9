// SPDX-License-Identifier: Apache-2.0
// The commands on the bus: accept, install, refuse, remove, greeted, rotate, sampling. A message is checked, its seal is opened, and it
// becomes a fact for the arbiter, whose reply becomes the answer. A message of another epoch is answered STALE, before
// its seal is opened. Expected failures are codes in the answer.
import type {
  FlowAccept,
  FlowAccepted,
  FlowInstall,
  FlowInstalled,
  Flow as FlowMessage,
  FlowRefuse,
  FlowRefused,
  FlowRemove,
  FlowRemoved,
  KeysRotated,
  Network,
  Offer,
  PeerGreeted,
  PeerGreetedReply,
  SamplingSet,
  SamplingState,
  Seal,
} from '../../../proto/gen/bus.js';
import {
  addressKeyOf,
  type FlowKey,
  flowKeyOf,
  isReservedSpi,
  networkOf,
  type Prefix,
} from '../../shared/address.js';
import { contracts } from '../../shared/contracts.js';
import { isErrorCode, PspError } from '../../shared/errors.js';
import { highestSamplingLog2 } from '../../shared/limits.js';
import { monotonicMs, monotonicNs } from '../../shared/process/clock.js';
import { LineGate } from '../../shared/process/line_gate.js';
import type { Logger } from '../../shared/process/log.js';
import type { BusSecretFile } from '../../shared/service/bus_secret_file.js';
import type { FlowTraces } from '../../shared/service/flow_traces.js';
import type { DataplaneConfig, Terms } from '../config.js';
import type { Arbiter } from '../core/arbiter.js';
import type { EgressKey, FlowSelection, RotationReply } from '../core/facts.js';
import type { AuditReport } from './audit_report.js';
import type { Engine } from './engine.js';
import type { Executor } from './executor.js';

/** The most flows of one message; keyexchange accepts no larger batch from a peer. */
const flowsLimit = 1024;

const noOffers: Pick<FlowAccepted, 'offers' | 'seal'> = { offers: [], seal: undefined };

export class Commands {
  readonly #gate = new LineGate();

  constructor(
    private readonly config: Pick<DataplaneConfig, 'peers' | 'terms'>,
    private readonly arbiter: Arbiter,
    private readonly engine: Engine,
    private readonly executor: Executor,
    private readonly auditor: AuditReport,
    private readonly secret: Pick<BusSecretFile, 'opening'>,
    private readonly traces: FlowTraces,
    private readonly log: Logger,
  ) {}

  accept(message: FlowAccept): Promise<FlowAccepted> {
    return this.#answered(message.epoch, noOffers, async () => {
      const { subject } = contracts.flowAccept;
      const { epoch, version, egress } = message;
      const { peer, flows, seal } = this.#checked(subject, message, egress);
      if (!this.#terms(peer).versions.includes(version))
        throw malformed(subject, `version ${version} is not allowed with peer ${message.peer}`);
      const binding = { epoch, peer: message.peer, exchange: 0n };
      const bindingOfKeys = { ...binding, ...bound(subject, message.peerEpoch) };
      const bindingOfReply = { ...binding, contract: `${subject}/reply`, request: seal };
      const trace = this.traces.begin({ epoch, exchange: 0n, peer: message.peer }, flows, (key) => key);
      trace.mark('acceptReceived', monotonicNs());
      let answer = noOffers;
      const offerInReturn = async () => {
        const { offers, seal, ...made } = await this.engine.offer(flows, peer, version, bindingOfReply);
        trace.mark('returnOfferMade', monotonicNs());
        answer = { offers, seal };
        return { ...made, spis: offers.map(({ spi }) => spi) };
      };
      const keys = this.secret.opening(() => this.engine.open(flows, egress, bindingOfKeys, seal));
      const fact = { type: 'acceptReceived', peer, flows, keys: keysOf(egress, message.peerEpoch) } as const;
      await this.executor.request(fact, { keys, offerInReturn });
      trace.mark('acceptDone', monotonicNs());
      return answer;
    });
  }

  install(message: FlowInstall): Promise<FlowInstalled> {
    return this.#answered(message.epoch, { results: [] }, async () => {
      const { subject } = contracts.flowInstall;
      const { epoch, exchange, egress } = message;
      const trace = this.traces.find(exchange);
      trace?.mark('installReceived', monotonicNs());
      const { peer, flows, seal } = this.#checked(subject, message, egress);
      if (egress.length === 0) throw malformed(subject, 'it contains no keys');
      const binding = { epoch, peer: message.peer, exchange, ...bound(subject, message.peerEpoch) };
      const keys = this.secret.opening(() => this.engine.open(flows, egress, binding, seal));
      const offered = { exchange, peer, flows, keys: keysOf(egress, message.peerEpoch) };
      const { results } = await this.executor.request({ type: 'installReceived', ...offered }, { keys });
      trace?.mark('keyInstalled', monotonicNs());
      return { results: [...results] };
    });
  }

  refuse(message: FlowRefuse): Promise<FlowRefused> {
    return this.#answered(message.epoch, {}, async () => {
      const { exchange, refusal } = message;
      const code = isErrorCode(refusal) ? refusal : 'PEER_REFUSED';
      const peer = this.#peer(contracts.flowRefuse.subject, message.peer);
      const flows = flowsOf(contracts.flowRefuse.subject, message.flows);
      this.executor.on({ type: 'refuseReceived', exchange, peer, flows, code });
      return {};
    });
  }

  /** A peer's greeting is of any epoch of ours; an answer counts only for the epoch that our greeting stated. */
  greeted(message: PeerGreeted): Promise<PeerGreetedReply> {
    const { answeredEpoch, peerEpoch, unknownSpis } = message;
    return this.#answered(answeredEpoch ?? this.arbiter.epoch, {}, async () => {
      const { subject } = contracts.peerGreeted;
      const peer = this.#peer(subject, message.peer);
      if (answeredEpoch !== undefined) {
        this.executor.on({ type: 'greetingAnswered', peer, epoch: peerEpoch });
        return {};
      }
      if (peerEpoch === undefined) throw malformed(subject, 'a greeting without an epoch');
      this.executor.on({ type: 'greeted', peer, epoch: peerEpoch, spis: unknownSpis });
      return {};
    });
  }

  /** An operator requests a rotation. @param cutsAtMost how many flows it may cut; undefined: it waits for all. */
  async rotate(cutsAtMost: number | undefined): Promise<KeysRotated> {
    return rotatedOf(
      await this.executor.request({ type: 'rotateReceived', cause: { why: 'command' }, cutsAtMost }),
    );
  }

  /** @throws PspError ROTATION_PENDING or ROTATION_LIMITED. */
  async rotateForPeer(name: string): Promise<KeysRotated> {
    const peer = this.#peer(contracts.peerRotation.subject, name);
    const cause = { why: 'request', peer } as const;
    return rotatedOf(await this.executor.request({ type: 'rotateReceived', cause }));
  }

  /** An operator removes tunnels. @returns how many, once the engine has removed them. */
  async remove(message: FlowRemove): Promise<FlowRemoved> {
    try {
      const selection = this.#selection(message);
      const { removed } = await this.executor.request({ type: 'removeReceived', selection });
      this.log.info({ removed, ...(message.peer !== '' && { peer: message.peer }) }, 'flows removed');
      return { code: '', removed };
    } catch (error) {
      return { code: this.#logged(error), removed: 0 };
    }
  }

  #selection({ peer, one, other }: FlowRemove): FlowSelection {
    const { subject } = contracts.flowRemove;
    const selection = peer === '' ? {} : { peer: this.#peer(subject, peer) };
    if (one === undefined && other === undefined) return selection;
    const between = [prefixOf(subject, one), prefixOf(subject, other)] as const;
    if (between[0].address.length !== between[1].address.length)
      throw malformed(subject, 'its two networks are not of the same family');
    return { ...selection, between };
  }

  /** @returns the rate after the command, which is the old one when the command failed. */
  async sampling({ egressLog2, peer: name }: SamplingSet): Promise<SamplingState> {
    const { subject } = contracts.samplingSet;
    let peer: number | undefined;
    try {
      if (name !== '') peer = this.#peer(subject, name);
      if (egressLog2 !== undefined && egressLog2 > highestSamplingLog2)
        throw malformed(
          subject,
          `one of 2^${egressLog2} packets; 2^0 to 2^${highestSamplingLog2} are possible`,
        );
      const { from, changed } = await this.engine.sampling(egressLog2, peer);
      if (changed) {
        this.auditor.samplingChanged(from, egressLog2, peer);
        this.log.info(
          { egressLog2: egressLog2 ?? 'off', ...(peer !== undefined && { peer: name }) },
          'sampling changed',
        );
      }
      return { code: '', egressLog2, faults: '' };
    } catch (error) {
      const code = this.#logged(error);
      const faults = error instanceof PspError ? `${error.data.faults ?? ''}` : '';
      return { code, egressLog2: this.engine.samplingLog2(peer), faults };
    }
  }

  /** Runs a command if it is of the current epoch; an expected failure becomes the code of the answer. */
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
      return { ...nothing, code: this.#logged(error), epoch };
    }
  }

  /** Logs why a command failed. @returns the code. @throws the error unless the failure is expected. */
  #logged(error: unknown): string {
    if (!(error instanceof PspError)) throw error;
    const suppressed = this.#gate.pass(error.code, monotonicMs());
    if (suppressed !== undefined) {
      this.log.warn({ code: error.code, err: error.message, suppressed }, 'command failed');
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
      throw malformed(subject, `an offer does not match the versions and the mode of peer ${message.peer}`);
    if (new Set(egress.map(({ spi }) => spi)).size < egress.length)
      throw malformed(subject, 'two of its keys have the same SPI');
    return { peer, flows, seal };
  }

  #terms(peer: number): Terms {
    return this.config.terms[peer] as Terms;
  }

  #peer(subject: string, name: string): number {
    const peer = name === '' ? -1 : this.config.peers.indexOf(name);
    if (peer < 0) throw malformed(subject, `there is no peer ${name}`);
    return peer;
  }
}

function rotatedOf({ generation, wait, cut, reoffered }: RotationReply): KeysRotated {
  return {
    code: wait === undefined ? '' : 'ROTATION_PENDING',
    generation,
    unansweredFlows: wait?.unanswered ?? 0,
    drainLeftMs: Math.ceil(wait?.drainLeftMs ?? 0),
    reofferedFlows: reoffered,
    cutFlows: cut,
  };
}

const malformed = (subject: string, detail: string) => new PspError('PAYLOAD_INVALID', { subject, detail });

const isAddress = (octets: Uint8Array): boolean => octets.length === 4 || octets.length === 16;

const isOffer = ({ spi, address, mac }: Offer): boolean =>
  !isReservedSpi(spi) && isAddress(address) && mac.length === 6;

function flowsOf(subject: string, flows: readonly FlowMessage[]): FlowKey[] {
  if (flows.length === 0 || flows.length > flowsLimit) {
    throw malformed(subject, `${flows.length} flows; 1 to ${flowsLimit} are possible`);
  }
  return flows.map((flow) => {
    if (!isAddress(flow.source) || flow.source.length !== flow.destination.length) {
      throw malformed(subject, 'a flow does not have two addresses of the same family');
    }
    return flowKeyOf(flow);
  });
}

function prefixOf(subject: string, network: Network | undefined): Prefix {
  if (network === undefined) throw malformed(subject, 'it contains only one of two networks');
  if (!isAddress(network.address) || network.length > network.address.length * 8)
    throw malformed(subject, 'a network is malformed');
  return networkOf(network);
}

const bound = (contract: string, peerEpoch: bigint | undefined) => ({
  contract,
  ...(peerEpoch !== undefined && { peerEpoch }),
});

const keysOf = (egress: readonly Offer[], epoch: bigint | undefined): EgressKey[] =>
  egress.map(({ spi, version, number, address }) => ({
    epoch,
    number,
    spi,
    version,
    address: addressKeyOf(address),
  }));
