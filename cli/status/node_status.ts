// SPDX-License-Identifier: Apache-2.0
// The answers of a node's services to `psp status`.
import type { DataplaneStatus, Health, KeyExchangeStatus, ServiceStatus } from '../../proto/gen/bus.js';
import type { Discovered } from '../../services/shared/bus/bus.js';
import type { Service } from '../../services/shared/contracts.js';

/** A service that answered, and its start time. */
export interface Running extends Discovered {
  startedMs: bigint | null;
}

export interface NodeStatus extends Answers {
  name: string;
  /** Faults, silent services first. */
  health: Health[];
  services: Running[];
  /** How the node file differs from what runs. */
  notices: Health[];
}

/** The received statuses. */
export interface Answers {
  dataplane: DataplaneStatus | undefined;
  /** One per replica of the services that may have several. */
  replicas: ReadonlyMap<Service, readonly (ServiceStatus | KeyExchangeStatus)[]>;
}

/** Of keyexchange. */
export const keyExchangeOf = ({ replicas }: Answers): readonly KeyExchangeStatus[] =>
  (replicas.get('keyexchange') ?? []) as readonly KeyExchangeStatus[];
