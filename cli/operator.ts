// SPDX-License-Identifier: Apache-2.0
// How a command reaches a running node: the node file contains the addresses of the bus and the audit server, the
// file beside it the operator's password. A command does not wait for a server that is down.
import { Bus } from '../services/shared/bus/bus.js';
import { readPassword } from '../services/shared/bus/secret.js';
import { BusStream } from '../services/shared/bus/stream.js';
import { loadConfig, type NodeConfig } from '../services/shared/config/config.js';
import { PspError } from '../services/shared/errors.js';

/** Options that every command has. */
export interface SharedOptions {
  config: string;
  json?: true;
}

/** How both servers of a node authenticate the operator. */
export const loginOf = ({ node, files }: NodeConfig) => ({
  node,
  user: 'operator' as const,
  password: readPassword(files.passwords, 'operator'),
});

/** Timeout of one answer. */
export const answerMs = 3000;

/**
 * Runs work as the bus user `operator`, then leaves the bus.
 * @param onState called when the bus connection is lost and restored meanwhile.
 * @throws PspError CONFIG_INVALID, FILE_UNREADABLE, BUS_UNAVAILABLE, and any error of the work.
 */
export async function asOperator<T>(
  file: string,
  work: (bus: Bus, config: NodeConfig) => Promise<T>,
  onState: (connected: boolean) => void = () => undefined,
): Promise<T> {
  const config = loadConfig(file, process.env);
  const bus = await Bus.connect({
    ...loginOf(config),
    server: config.bus.listen,
    waitOnFirstConnect: false,
    onState,
  }).catch((error: unknown) => {
    throw isRefused(error) ? notRunning(config, error) : error;
  });
  try {
    return await work(bus, config);
  } finally {
    await bus.close();
  }
}

/** No process listens at the address of the server. */
const isRefused = (error: unknown): error is PspError =>
  error instanceof PspError && error.code === 'BUS_UNAVAILABLE' && error.data.detail === 'connection refused';

const notRunning = ({ node, files, audit }: NodeConfig, cause: PspError): PspError => {
  const only = cause.data.server === audit.listen ? ', or its audit server is being restarted' : '';
  const detail = `node ${node} does not run here${only}; start it with \`psp up -c ${files.config}\``;
  return new PspError('BUS_UNAVAILABLE', { ...cause.data, detail }, { cause });
};

/** Runs work on the audit stream as `operator`. @throws PspError as `asOperator`. */
export async function asAuditor<T>(
  file: string,
  work: (stream: BusStream, config: NodeConfig) => Promise<T>,
): Promise<T> {
  const config = loadConfig(file, process.env);
  const stream = await auditOf(config).catch((error: unknown) => {
    throw isRefused(error) ? notRunning(config, error) : error;
  });
  try {
    return await work(stream, config);
  } finally {
    await stream.close();
  }
}

/** A connection to the audit server. @throws PspError BUS_UNAVAILABLE */
export const auditOf = (config: NodeConfig): Promise<BusStream> =>
  BusStream.connect({ ...loginOf(config), server: config.audit.listen, waitOnFirstConnect: false });
