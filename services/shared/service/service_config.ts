// SPDX-License-Identifier: Apache-2.0
// The part of the node file that every service needs.
import { type AuditSlice, auditSliceOf } from '../audit/slice.js';
import { readPassword } from '../bus/secret.js';
import type { NodeConfig } from '../config/config.js';
import type { Service } from '../contracts.js';

export interface ServiceConfig {
  /** What this was read from. */
  nodeFile: NodeConfig;
  node: string;
  audit: AuditSlice;
  bus: {
    /** host:port of nats-server. */
    server: string;
    password: string;
  };
}

/** @throws PspError FILE_UNREADABLE or SECRET_EXPOSED for the password beside the node file. */
export const serviceConfigOf = (config: NodeConfig, service: Service): ServiceConfig => ({
  nodeFile: config,
  node: config.node,
  audit: auditSliceOf(config, service),
  bus: { server: config.bus.listen, password: readPassword(config.files.passwords, service) },
});
