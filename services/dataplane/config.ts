// SPDX-License-Identifier: Apache-2.0
// The slice of the node file that the dataplane needs, and its fixed limits. The files beside the node file are read once,
// before privileges are dropped.
import type { EngineOptions, EngineSettings, PeerOptions } from '../../native/addon/engine.js';
import type { Mode } from '../../proto/gen/bus.js';
import {
  contains,
  type Flow,
  flowKeyOf,
  mapped,
  networkOf,
  type Prefix,
  parseAddress,
  parsePrefix,
} from '../shared/address.js';
import { type BusSecret, readBusSecret } from '../shared/bus/secret.js';
import { bypassRule } from '../shared/config/bypass.js';
import { type NodeConfig, type PeerConfig, versionsWith } from '../shared/config/config.js';
import { type ConfigWarning, warningsOf } from '../shared/config/warnings.js';
import { spisPerFlow } from '../shared/limits.js';
import { modes } from '../shared/modes.js';
import { type ServiceConfig, serviceConfigOf } from '../shared/service/service_config.js';
import type { Miss } from './core/facts.js';
import { firstHoldDownMs } from './core/hold_down.js';
import type { PeerNetworks } from './core/peer_addresses.js';

export interface DataplaneConfig extends ServiceConfig {
  /** What this was read from, to check it against the engine. */
  nodeFile: NodeConfig;
  engine: EngineSettings;
  /** Names by peer number. */
  peers: readonly string[];
  /** By peer number. */
  terms: readonly Terms[];
  /** Entries of `bypass`, in the engine's order. */
  bypass: readonly string[];
  /** What passes unencrypted or unchecked by configuration. */
  warnings: readonly ConfigWarning[];
  /** Flows wanted from the start. */
  configured: readonly Miss[];
  /** The outer sources of each peer, by peer number. */
  networks: readonly PeerNetworks[];
  times: {
    holdMs: number;
    exchangeMs: number;
    drainMs: number;
    rotateGraceMs: number;
    rotateEveryMs: number | undefined;
  };
  /** `peers.X.maxTunnels` by peer number. */
  maxTunnels: ReadonlyMap<number, number>;
  /** The engine copies and wipes its octets. */
  busSecret: BusSecret;
}

/** The terms of key exchange with a peer. */
export interface Terms {
  /** PSP versions allowed with it; our own offers have the first one. */
  versions: readonly number[];
  mode: Mode;
  authOnly: boolean;
  cookie: boolean;
  cryptOffset: number;
  /** 0: the MTU of the secured port. */
  mtu: number;
}

/** Limits of held packets, of open wants, and of receive SPIs of one flow. */
const limits = {
  unansweredMs: firstHoldDownMs,
  heldPerFlow: 64,
  heldPerSource: 1024,
  heldTotal: 8192,
  wantsPerPeer: 4096,
  spisPerFlow,
};

/** 17 octets: the address, IPv4 mapped, then the length counted in that form. */
function prefixOctets({ address, length }: Prefix): Uint8Array {
  const octets = new Uint8Array(17);
  octets.set(mapped(address));
  octets[16] = mappedLength(address, length);
  return octets;
}

const mappedLength = (address: Uint8Array, length: number): number =>
  address.length === 4 ? length + 96 : length;

const prefixes = (texts: readonly string[]): Uint8Array =>
  Buffer.concat(texts.map((text) => prefixOctets(parsePrefix(text))));

/** The peer with the longest prefix that contains the address. */
function peerOf(address: Uint8Array, peers: NodeConfig['peers']): number {
  let longest = { length: -1, peer: -1 };
  for (const [peer, { vips }] of Object.values(peers).entries()) {
    for (const prefix of vips.map(parsePrefix)) {
      if (contains(networkOf(prefix), address) && prefix.length > longest.length) {
        longest = { length: prefix.length, peer };
      }
    }
  }
  return longest.peer;
}

/** The flows of `tunnels`; both ends were checked when the node file was loaded. */
function configuredFlows({ tunnels, peers }: NodeConfig): Miss[] {
  return tunnels.map(({ local, remote }) => {
    const flow: Flow = { source: parseAddress(local), destination: parseAddress(remote) };
    return { flow: flowKeyOf(flow), peer: peerOf(flow.destination, peers) };
  });
}

const termsOf = (peer: PeerConfig, versions: readonly number[]): Terms => ({
  versions: versionsWith(versions, peer),
  mode: modes[peer.mode],
  authOnly: peer.authOnly,
  cookie: peer.cookie,
  cryptOffset: peer.cryptOffset,
  mtu: peer.mtu ?? 0,
});

const peerOptions = (name: string, peer: PeerConfig): PeerOptions => ({
  name,
  vips: prefixes(peer.vips),
  mode: peer.mode,
  cookie: peer.cookie,
  cryptOffset: peer.cryptOffset,
  ...(peer.mtu !== undefined && { mtu: peer.mtu }),
  ...(peer.sampling !== undefined && { sampling: peer.sampling }),
});

const networksOf = ({ underlay, vips, mode }: PeerConfig): PeerNetworks => ({
  underlay: underlay.map(parsePrefix),
  hosts: mode === 'transport' ? vips.map(parsePrefix) : [],
});

function securedOptions({ secured }: NodeConfig): EngineOptions['secured'] {
  const own = parsePrefix(secured.address);
  const { sourcePorts, dscp, gateway } = secured;
  return {
    device: secured.port,
    address: mapped(own.address),
    prefixLength: mappedLength(own.address, own.length),
    ...(gateway !== undefined && { gateway: mapped(parseAddress(gateway)) }),
    hopLimit: secured.hopLimit,
    ...(dscp !== 'copy' && { dscp }),
    udpChecksum: secured.udpChecksum,
    sourcePorts: typeof sourcePorts === 'string' ? sourcePorts : Uint16Array.from(sourcePorts),
  };
}

/** The engine's settings in a node file. */
export function engineSettings(config: NodeConfig): EngineSettings {
  const { engine, sampling, unsecured, peers } = config;
  return {
    kind: engine.kind,
    node: config.node,
    unsecured: { device: unsecured.port, gateways: prefixes(unsecured.gateway) },
    secured: securedOptions(config),
    vips: prefixes(config.vips),
    peers: Object.entries(peers).map(([name, peer]) => peerOptions(name, peer)),
    ingressAcl: config.ingressAcl,
    bypass: config.bypass.map(({ prefix, protocol = 0, port = 0 }) => ({
      prefix: prefixes([prefix]),
      protocol,
      port,
    })),
    capture: config.capture,
    polling: engine.polling,
    lcores: engine.lcores,
    crypto: engine.crypto,
    maxFlows: engine.maxFlows,
    retireMs: engine.retireMs,
    limits: { ...limits, holdMs: engine.holdMs },
    sampling: {
      snapBytes: sampling.snapBytes,
      sealed: sampling.points.includes('sealed'),
      plain: sampling.points.includes('plain'),
      ...(sampling.egressLog2 !== undefined && { egressLog2: sampling.egressLog2 }),
    },
  };
}

/** @throws PspError FILE_UNREADABLE if a file beside the node file is missing or has other content. */
export function sliceOf(config: NodeConfig): DataplaneConfig {
  const { engine, peers, files } = config;
  return {
    ...serviceConfigOf(config, 'dataplane'),
    nodeFile: config,
    engine: engineSettings(config),
    peers: Object.keys(peers),
    terms: Object.values(peers).map((peer) => termsOf(peer, config.versions)),
    bypass: config.bypass.map(bypassRule),
    warnings: warningsOf(config),
    configured: configuredFlows(config),
    networks: Object.values(peers).map(networksOf),
    times: {
      holdMs: engine.holdMs,
      exchangeMs: config.keyExchange.exchangeMs,
      drainMs: engine.drainMs,
      rotateGraceMs: engine.rotateGraceMs,
      rotateEveryMs: config.keys.rotateEvery === 'off' ? undefined : config.keys.rotateEvery,
    },
    maxTunnels: new Map(
      Object.values(peers).flatMap(({ maxTunnels }, peer) =>
        maxTunnels === undefined ? [] : [[peer, maxTunnels]],
      ),
    ),
    busSecret: readBusSecret(files.busSecret),
  };
}
