// SPDX-License-Identifier: Apache-2.0
// What the services of a node answered to `psp status`.
import type { DataplaneStatus, Health, KeyExchangeStatus, ServiceStatus } from '../../proto/gen/bus.js';
import type { Discovered } from '../../services/shared/bus/bus.js';
import type { Service } from '../../services/shared/contracts.js';

/** A service that answered, since when it runs. */
export interface Running extends Discovered {
  startedMs: bigint | null;
}

export interface NodeStatus extends Answers {
  name: string;
  /** What is wrong, silent services first. */
  health: Health[];
  services: Running[];
}

/** The statuses that came. */
export interface Answers {
  dataplane: DataplaneStatus | undefined;
  /** Of each replica of the services that may have several. */
  replicas: ReadonlyMap<Service, readonly (ServiceStatus | KeyExchangeStatus)[]>;
}

/** Of keyexchange. */
export const keyExchangeOf = ({ replicas }: Answers): readonly KeyExchangeStatus[] =>
  (replicas.get('keyexchange') ?? []) as readonly KeyExchangeStatus[];
