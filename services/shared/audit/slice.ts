// SPDX-License-Identifier: Apache-2.0
// The audit in a service's slice of the node file, with the summary of the file that its first event holds. It connects to
// nothing, so that commands without a bus can read the slice of a service.
import { readPassword } from '../bus/secret.js';
import type { NodeConfig } from '../config/config.js';
import type { Service } from '../contracts.js';
import type { AuditData } from './event.js';

/** The most names of peers and prefixes in one event; their totals are beside them. */
const longestList = 64;

export interface AuditSlice {
  stateDir: string;
  /** host:port of the audit server. */
  server: string;
  password: string;
  spoolBytes: number;
  configSummary: AuditData['config.loaded'];
}

/** @throws PspError FILE_UNREADABLE when the service's password is missing. */
export const auditSliceOf = (config: NodeConfig, service: Service): AuditSlice => ({
  stateDir: config.stateDir,
  server: config.audit.listen,
  password: readPassword(config.files.passwords, service),
  spoolBytes: config.audit.spoolBytes,
  configSummary: configSummaryOf(config),
});

function configSummaryOf(config: NodeConfig): AuditData['config.loaded'] {
  const peers = Object.keys(config.peers);
  return {
    sha256: config.digest,
    vips: config.vips.slice(0, longestList),
    peers: peers.slice(0, longestList),
    vipCount: config.vips.length,
    peerCount: peers.length,
    tunnels: config.tunnels.length,
    trustDomain: config.trustDomain,
    versions: config.versions,
    samplingEgressLog2: config.sampling.egressLog2 ?? null,
    insecurePeers: peers.filter((name) => config.peers[name]?.insecureReferenceInterop).slice(0, longestList),
    authOnlyPeers: peers.filter((name) => config.peers[name]?.authOnly).slice(0, longestList),
    cryptOffsetPeers: peers.filter((name) => config.peers[name]?.cryptOffset).slice(0, longestList),
    ingressAcl: config.ingressAcl,
    bypass: config.bypass.length,
    samplingPlain: config.sampling.points.includes('plain'),
    captureEgress: config.capture.egress,
  };
}
