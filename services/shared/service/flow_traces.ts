// SPDX-License-Identifier: Apache-2.0
// The times of the steps of a service's last exchanges, for `psp flows trace`. Memory is bounded: the last 256 exchanges, each
// with its first 16 flows. Times are CLOCK_MONOTONIC in nanoseconds, so those of the services of a node can be compared.
import type { ExchangeTrace as Message } from '../../../proto/gen/bus.js';
import type { FlowKey } from '../address.js';
import type { ExchangeStep } from './exchange_steps.js';

const exchangesRemembered = 256;
const flowsRemembered = 16;

/** One exchange; a peer's request has the number 0. */
export class ExchangeTrace {
  readonly #steps: { step: ExchangeStep; atNs: bigint }[] = [];

  constructor(
    readonly epoch: bigint,
    readonly exchange: bigint,
    readonly peer: string,
    readonly flows: readonly FlowKey[],
    readonly flowCount: number,
  ) {}

  mark(step: ExchangeStep, atNs: bigint): void {
    this.#steps.push({ step, atNs });
  }

  get message(): Message {
    const { epoch, exchange, peer, flowCount } = this;
    return { epoch, exchange, peer, flows: flowCount, steps: this.#steps.map((each) => ({ ...each })) };
  }
}

export class FlowTraces {
  readonly #traces: ExchangeTrace[] = [];
  #next = 0;

  /** Remembers an exchange in the place of the oldest one. @param keyOf is called for the flows that are remembered. */
  begin<F>(
    { epoch, exchange, peer }: Pick<ExchangeTrace, 'epoch' | 'exchange' | 'peer'>,
    flows: readonly F[],
    keyOf: (flow: F) => FlowKey,
  ): ExchangeTrace {
    const keys = flows.slice(0, flowsRemembered).map(keyOf);
    const trace = new ExchangeTrace(epoch, exchange, peer, keys, flows.length);
    this.#traces[this.#next] = trace;
    this.#next = (this.#next + 1) % exchangesRemembered;
    return trace;
  }

  /** An exchange of our own, by its number. */
  find(exchange: bigint): ExchangeTrace | undefined {
    return this.#traces.find((each) => each.exchange === exchange);
  }

  /** The remembered exchanges about a flow from one of our hosts. */
  of(flow: FlowKey): Message[] {
    return this.#traces.filter(({ flows }) => flows.includes(flow)).map(({ message }) => message);
  }
}
