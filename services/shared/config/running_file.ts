// SPDX-License-Identifier: Apache-2.0
// The configuration that a node runs, as `psp up` hands it to its services in the folder of its state. A service that is
// restarted reads it instead of the node file, which may have been edited since without a reload.
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PspError } from '../errors.js';
import { type ConfigSource, checkConfig, configInvalid, loadConfig, type NodeConfig } from './config.js';

/** The content of the file, in JSON. It contains no secret. */
interface Running extends ConfigSource {
  /** The whole configuration in YAML. */
  config: string;
}

export const runningFileOf = (stateDir: string): string => join(stateDir, 'running.json');

/** Writes the file as a whole, or not at all. @throws PspError FILE_UNWRITABLE. */
export function writeRunning(file: string, config: string, source: ConfigSource): void {
  const content: Running = { config, ...source };
  const next = `${file}.next`;
  try {
    writeFileSync(next, JSON.stringify(content), { mode: 0o600, flush: true });
    renameSync(next, file);
  } catch (cause) {
    rmSync(next, { force: true });
    const detail = (cause as NodeJS.ErrnoException).code ?? 'error';
    throw new PspError('FILE_UNWRITABLE', { file, detail, remedy: 'free some space there' }, { cause });
  }
}

/**
 * Loads the configuration of a service.
 * @param running the file above; if there is none, the node file applies.
 * @throws PspError FILE_UNREADABLE or CONFIG_INVALID.
 */
export function loadRunning(
  nodeFile: string,
  running: string | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): NodeConfig {
  const content = running === undefined ? undefined : contentIfAny(running);
  if (content === undefined) return loadConfig(nodeFile, environment);
  const { config, ...source } = JSON.parse(content) as Running;
  const result = checkConfig(config, nodeFile, environment, source);
  if ('config' in result) return result.config;
  throw configInvalid(nodeFile, result.faults);
}

function contentIfAny(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const detail = (cause as NodeJS.ErrnoException).code ?? 'error';
    if (detail === 'ENOENT') return undefined;
    throw new PspError('FILE_UNREADABLE', { file, detail, remedy: 'restart the node' }, { cause });
  }
}
