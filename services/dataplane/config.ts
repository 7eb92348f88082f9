// SPDX-License-Identifier: Apache-2.0
// The slice of the node file that the dataplane needs, and its fixed limits. The files beside the node file are read once,
// before privileges are dropped.
import type { EngineOptions, EngineSettings, PeerOptions } from '../../native/addon/engine.js';
import type { Mode } from '../../proto/gen/bus.js';
import { type Flow, flowKeyOf, mapped, type Prefix, parseAddress, parsePrefix } from '../shared/address.js';
import { type BusSecret, readBusSecret } from '../shared/bus/secret.js';
import { bypassRule } from '../shared/config/bypass.js';
import { type NodeConfig, type PeerConfig, versionsWith } from '../shared/config/config.js';
import { type ConfigWarning, warningsOf } from '../shared/config/warnings.js';
import { spisPerFlow } from '../shared/limits.js';
import { modes } from '../shared/modes.js';
import { type ServiceConfig, serviceConfigOf } from '../shared/service/service_config.js';
import { type Owner, ourselves, VipTable } from '../shared/vip_table.js';
import type { Miss } from './core/facts.js';
import { firstHoldDownMs } from './core/hold_down.js';
import type { PeerNetworks } from './core/peer_addresses.js';

export interface DataplaneConfig extends ServiceConfig, Live {
  engine: EngineSettings;
  times: {
    holdMs: number;
    exchangeMs: number;
    drainMs: number;
    rotateGraceMs: number;
    rotateEveryMs: number | undefined;
  };
  /** The engine copies and wipes its octets. */
  busSecret: BusSecret;
}

/** The part that a reload replaces in place. Lists of peers are by peer number. */
export interface Live {
  /** Names; empty: no peer has the number. */
  peers: readonly string[];
  terms: readonly Terms[];
  /** Entries of `bypass`, in the engine's order. */
  bypass: readonly string[];
  /** What passes unencrypted or unchecked by configuration. */
  warnings: readonly ConfigWarning[];
  /** Flows that are wanted without a packet. */
  configured: readonly Miss[];
  /** The outer sources of each peer. */
  networks: ReadonlyMap<number, PeerNetworks>;
  /** `peers.X.maxTunnels`. */
  maxTunnels: ReadonlyMap<number, number>;
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

/** The owners of all addresses: this gateway, and the peers by their names. */
export const vipsOf = ({ vips, peers }: Pick<NodeConfig, 'vips' | 'peers'>): VipTable =>
  new VipTable([
    [ourselves, vips.map(parsePrefix)],
    ...Object.entries(peers).map(([name, peer]): [Owner, Prefix[]] => [name, peer.vips.map(parsePrefix)]),
  ]);

/** The flows of `tunnels`; both ends were checked when the node file was loaded. */
function configuredFlows(config: NodeConfig, numbers: ReadonlyMap<string, number>): Miss[] {
  const table = vipsOf(config);
  return config.tunnels.flatMap(({ local, remote }) => {
    const flow: Flow = { source: parseAddress(local), destination: parseAddress(remote) };
    const peer = numbers.get(String(table.ownerOf(flow.destination)));
    // A more specific prefix of this gateway may contain the remote address.
    return peer === undefined ? [] : [{ flow: flowKeyOf(flow), peer }];
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

/** The numbers that peers have at start. */
export const numbersOf = (peers: NodeConfig['peers']): ReadonlyMap<string, number> =>
  new Map(Object.keys(peers).map((name, number) => [name, number]));

/** A number without a peer is an entry without VIPs. */
function peersByNumber(peers: NodeConfig['peers'], numbers: ReadonlyMap<string, number>): PeerOptions[] {
  const list: PeerOptions[] = Array.from({ length: 1 + Math.max(-1, ...numbers.values()) }, () => noPeer);
  for (const [name, number] of numbers) list[number] = peerOptions(name, peers[name] as PeerConfig);
  return list;
}

const noPeer: PeerOptions = { name: '', vips: prefixes([]), mode: 'tunnel', cookie: false, cryptOffset: 0 };

const bypassOptions = ({ bypass }: Pick<NodeConfig, 'bypass'>): EngineOptions['bypass'] =>
  bypass.map(({ prefix, protocol = 0, port = 0 }) => ({ prefix: prefixes([prefix]), protocol, port }));

/** What the engine looks packets up by. */
export const topologyOf = (
  config: NodeConfig,
  numbers: ReadonlyMap<string, number>,
): Pick<EngineOptions, 'vips' | 'peers' | 'bypass'> => ({
  vips: prefixes(config.vips),
  peers: peersByNumber(config.peers, numbers),
  bypass: bypassOptions(config),
});

/** How many peers there may be at once and after reloads, each with a number of its own. */
export const maxPeersFor = (peers: number): number => Math.min(65_520, Math.max(1024, 4 * peers));

/** The engine's settings in a node file. */
export function engineSettings(config: NodeConfig): EngineSettings {
  const { engine, sampling, unsecured, peers } = config;
  return {
    kind: engine.kind,
    node: config.node,
    unsecured: { device: unsecured.port, gateways: prefixes(unsecured.gateway) },
    secured: securedOptions(config),
    vips: prefixes(config.vips),
    peers: peersByNumber(peers, numbersOf(peers)),
    maxPeers: maxPeersFor(Object.keys(peers).length),
    ingressAcl: config.ingressAcl,
    bypass: bypassOptions(config),
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

export function liveOf(config: NodeConfig, numbers: ReadonlyMap<string, number>): Live {
  const peers: string[] = Array.from({ length: 1 + Math.max(-1, ...numbers.values()) }, () => '');
  const terms: Terms[] = [];
  const networks = new Map<number, PeerNetworks>();
  const maxTunnels = new Map<number, number>();
  for (const [name, number] of numbers) {
    const peer = config.peers[name] as PeerConfig;
    peers[number] = name;
    terms[number] = termsOf(peer, config.versions);
    networks.set(number, networksOf(peer));
    if (peer.maxTunnels !== undefined) maxTunnels.set(number, peer.maxTunnels);
  }
  return {
    peers,
    terms,
    networks,
    maxTunnels,
    bypass: config.bypass.map(bypassRule),
    warnings: warningsOf(config),
    configured: configuredFlows(config, numbers),
  };
}

export const rotationTimes = ({ engine, keys }: Pick<NodeConfig, 'engine' | 'keys'>) => ({
  drainMs: engine.drainMs,
  rotateGraceMs: engine.rotateGraceMs,
  rotateEveryMs: keys.rotateEvery === 'off' ? undefined : keys.rotateEvery,
});

/** @throws PspError FILE_UNREADABLE if a file beside the node file is missing or has other content. */
export function sliceOf(config: NodeConfig): DataplaneConfig {
  const { engine, peers, files } = config;
  return {
    ...serviceConfigOf(config, 'dataplane'),
    ...liveOf(config, numbersOf(peers)),
    engine: engineSettings(config),
    times: {
      holdMs: engine.holdMs,
      exchangeMs: config.keyExchange.exchangeMs,
      ...rotationTimes(config),
    },
    busSecret: readBusSecret(files.busSecret),
  };
}
