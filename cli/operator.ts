// SPDX-License-Identifier: Apache-2.0
// How a command reaches a running node: the node file names the bus, the file beside it holds the operator's
// password. A command does not wait for a bus that is not there.
import { Bus } from '../services/shared/bus.js';
import { readPassword } from '../services/shared/bus_secret.js';
import { loadConfig, type NodeConfig } from '../services/shared/config.js';
import { PspError } from '../services/shared/errors.js';

/** Options that every command has. */
export interface SharedOptions {
  config: string;
  json?: true;
}

/** How long one answer may take. */
export const answerMs = 3000;

/**
 * Does work as the bus user `operator` and leaves the bus.
 * @param onState called when the bus goes and comes meanwhile.
 * @throws PspError CONFIG_INVALID, FILE_UNREADABLE, BUS_UNAVAILABLE, and whatever the work throws.
 */
export async function asOperator<T>(
  file: string,
  work: (bus: Bus, config: NodeConfig) => Promise<T>,
  onState: (connected: boolean) => void = () => undefined,
): Promise<T> {
  const config = loadConfig(file, process.env);
  const bus = await Bus.connect({
    node: config.node,
    server: config.bus.listen,
    user: 'operator',
    password: readPassword(config.files.passwords, 'operator'),
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

/** Nobody listens at the address of the bus. */
const isRefused = (error: unknown): error is PspError =>
  error instanceof PspError && error.code === 'BUS_UNAVAILABLE' && error.data.detail === 'connection refused';

const notRunning = ({ node, files }: NodeConfig, cause: PspError): PspError => {
  const detail = `node ${node} does not run here; start it with \`psp up -c ${files.config}\``;
  return new PspError('BUS_UNAVAILABLE', { ...cause.data, detail }, { cause });
};
