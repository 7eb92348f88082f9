// SPDX-License-Identifier: Apache-2.0
// The steps of an exchange, in their order, as services record them and `psp flows trace` shows them. Our own dataplane requests
// an exchange, or a peer does; each of the two has its steps.

interface StepRow {
  service: 'dataplane' | 'keyexchange';
  meaning: string;
}

export const exchangeSteps = {
  // Requested by us.
  missed: { service: 'dataplane', meaning: 'the engine has reported the held packet' },
  offerRequested: { service: 'dataplane', meaning: 'the engine was told to make our offer' },
  offerMade: { service: 'dataplane', meaning: 'our offer is admitted and sealed' },
  wantPublished: { service: 'dataplane', meaning: 'the want was published on the bus' },
  wantReceived: { service: 'keyexchange', meaning: 'the key exchange has received the want' },
  requestSent: { service: 'keyexchange', meaning: 'the gRPC request was sent to the peer' },
  responseReceived: { service: 'keyexchange', meaning: "the peer's response was received" },
  installSent: { service: 'keyexchange', meaning: "the peer's offer was sent on the bus" },
  installReceived: { service: 'dataplane', meaning: "the dataplane has received the peer's offer" },
  keyInstalled: { service: 'dataplane', meaning: 'the engine has the egress key, and held packets are sent' },
  installAnswered: { service: 'keyexchange', meaning: 'the key exchange has the result' },
  // Requested by the peer.
  requestReceived: { service: 'keyexchange', meaning: "the peer's gRPC request was received" },
  acceptSent: { service: 'keyexchange', meaning: "the peer's offer was sent on the bus" },
  acceptReceived: { service: 'dataplane', meaning: "the dataplane has received the peer's offer" },
  returnOfferMade: { service: 'dataplane', meaning: 'our offer is admitted and sealed' },
  acceptDone: { service: 'dataplane', meaning: 'the engine has the egress key, and held packets are sent' },
  acceptAnswered: { service: 'keyexchange', meaning: 'the key exchange has our offer' },
  responseSent: { service: 'keyexchange', meaning: 'the gRPC response was sent to the peer' },
} as const satisfies Record<string, StepRow>;

export type ExchangeStep = keyof typeof exchangeSteps;

/** @returns undefined for the step of a newer version. */
export const stepNamed = (name: string): StepRow | undefined =>
  Object.hasOwn(exchangeSteps, name) ? exchangeSteps[name as ExchangeStep] : undefined;
