// SPDX-License-Identifier: Apache-2.0
// The slice of the node file that the stats service needs. Its only secret is the password of the bus.
import { bypassRule } from '../shared/config/bypass.js';
import type { NodeConfig } from '../shared/config/config.js';
import { type ServiceConfig, serviceConfigOf } from '../shared/service/service_config.js';

export interface StatsConfig extends ServiceConfig {
  /** Names of the peers: no other names become labels. */
  peers: readonly string[];
  /** Entries of `bypass`, which become labels too. */
  bypass: readonly string[];
  /** host:port of the pages. */
  listen: string;
}

/** The names of a node file that may become labels. */
export const namedIn = ({ peers, bypass }: NodeConfig): Pick<StatsConfig, 'peers' | 'bypass'> => ({
  peers: Object.keys(peers),
  bypass: bypass.map(bypassRule),
});

/** @throws PspError FILE_UNREADABLE if the password beside the node file is missing. */
export function sliceOf(config: NodeConfig): StatsConfig {
  return {
    ...serviceConfigOf(config, 'stats'),
    ...namedIn(config),
    listen: config.metrics.listen,
  };
}
