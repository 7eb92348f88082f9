// SPDX-License-Identifier: Apache-2.0
// The slice of the node file that the sampler needs, and its fixed limits. The file beside the node file is read once,
// before privileges are dropped.
import { join } from 'node:path';
import type { NodeConfig } from '../shared/config/config.js';
import { accounts } from '../shared/process/privileges.js';
import { type ServiceConfig, serviceConfigOf } from '../shared/service/service_config.js';

export interface SamplerConfig extends ServiceConfig {
  files: {
    /** Their folder, which all replicas share. */
    folder: string;
    /** Its owner; its mode is 0750. */
    owner: { uid: number; gid: number };
    /** The most files of all replicas together. */
    count: number;
    /** The most octets of one. */
    bytes: number;
    /** Octets of each packet that are copied, recorded in the files. */
    snapBytes: number;
  };
  limits: Limits;
}

export interface Limits {
  /** Octets of lines, and of packets, that may wait to be written. */
  linesBytes: number;
  packetsBytes: number;
}

/** About 30 000 lines and 50 000 packets of 128 octets: a second at the rate that the sampler is made for. */
const limits: Limits = { linesBytes: 8 * 1024 * 1024, packetsBytes: 16 * 1024 * 1024 };

/** Folder of the samples below the node's stateDir. */
const samplesFolder = (stateDir: string): string => join(stateDir, 'samples');

/** @throws PspError FILE_UNREADABLE if the password file is missing. */
export function sliceOf(config: NodeConfig): SamplerConfig {
  const { stateDir, sampling } = config;
  return {
    ...serviceConfigOf(config, 'sampler'),
    files: {
      folder: samplesFolder(stateDir),
      owner: accounts.sampler,
      count: sampling.files,
      bytes: sampling.fileBytes,
      snapBytes: sampling.snapBytes,
    },
    limits,
  };
}
