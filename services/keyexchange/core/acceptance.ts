// SPDX-License-Identifier: Apache-2.0
// The server's side of an exchange: a peer's request becomes an accept for our dataplane, and the dataplane's offers become
// the answer. A batch is checked as a whole: the first fault refuses all of it before any of it applies.
import type { Flow as FlowMessage, Offer } from '../../../proto/gen/bus.js';
import type {
  MultiTunnelRequest,
  MultiTunnelResponse,
  SingleTunnelRequest,
  TunnelParameters,
} from '../../../proto/gen/psp_gateway.js';
import { type Address, familyOf, flowKeyOf, formatAddress } from '../../shared/address.js';
import { PspError } from '../../shared/errors.js';
import { ourselves } from '../../shared/vip_table.js';
import { modeMismatch, parametersOf, readAddress, readOffer, repeatsSpi } from './parameters.js';
import type { Peer, Rules } from './rules.js';

/** A request that was checked. */
export interface Acceptance {
  /** Version of the offers to make. */
  version: number;
  peerEpoch: bigint | undefined;
  /** Our flows to the peer: the reverses of the requested ones. */
  flows: FlowMessage[];
  /** Egress keys: one for each flow, or none. */
  egress: Offer[];
  /** Keys of egress; borrowed from the request. */
  keys: Buffer[];
}

const malformed = (detail: string) => new PspError('REQUEST_INVALID', { detail });

/** The first version in the peer's order of preference that the configuration allows. @throws PspError VERSION_NOT_SPOKEN */
function versionOf(request: MultiTunnelRequest, { versions }: Peer): number {
  const version = request.pspVersionsAccepted.find((offered) => versions.includes(offered));
  if (version !== undefined) return version;
  throw new PspError('VERSION_NOT_SPOKEN', {
    offered: request.pspVersionsAccepted.slice(0, 16).join(','),
    allowed: versions.join(','),
  });
}

function flowOf(tunnel: SingleTunnelRequest, peer: Peer, rules: Rules): FlowMessage {
  const vip = (text: string, field: string): Address => {
    const address = readAddress(text);
    // Without inner_type, which older releases of NVIDIA's application do not know, the addresses say their family.
    if (address === undefined || ![0, familyOf(address)].includes(tunnel.innerType)) {
      throw malformed(`${field} is no address of inner_type ${tunnel.innerType}`);
    }
    return address;
  };
  const theirs = vip(tunnel.virtSrcIp, 'virt_src_ip');
  const ours = vip(tunnel.virtDstIp, 'virt_dst_ip');
  if (theirs.length !== ours.length) throw malformed('virt_src_ip and virt_dst_ip of two families');
  if (rules.vips.ownerOf(theirs) !== peer.name) {
    throw new PspError('VIP_NOT_PEERS', { peer: peer.name, vip: formatAddress(theirs) });
  }
  if (rules.vips.ownerOf(ours) !== ourselves)
    throw new PspError('VIP_NOT_OURS', { vip: formatAddress(ours) });
  return { source: Buffer.from(ours), destination: Buffer.from(theirs) };
}

function egressOf(parameters: TunnelParameters, peer: Peer, rules: Rules): Offer {
  const read = readOffer(parameters, peer, rules);
  if ('offer' in read) return read.offer;
  const { kind, detail } = read.flaw;
  if (kind === 'underlay') throw new PspError('UNDERLAY_NOT_ALLOWED', { peer: peer.name, address: detail });
  if (kind === 'mode') throw modeMismatch(peer, read.flaw.mode);
  if (kind === 'form') throw malformed(`reverse_params with ${detail}`);
  throw new PspError('VERSION_NOT_SPOKEN', {
    offered: parameters.pspVersion,
    allowed: peer.versions.join(','),
  });
}

/**
 * Checks a request of an authenticated peer.
 * @throws PspError REQUEST_INVALID, VERSION_NOT_SPOKEN, MODE_MISMATCH, VIP_NOT_PEERS, VIP_NOT_OURS or
 * UNDERLAY_NOT_ALLOWED.
 */
export function acceptanceOf(request: MultiTunnelRequest, peer: Peer, rules: Rules): Acceptance {
  const { tunnels } = request;
  const most = rules.limits.tunnelsPerRequest;
  if (tunnels.length === 0 || tunnels.length > most) {
    throw malformed(`${tunnels.length} tunnels, 1 to ${most} are accepted`);
  }
  const version = versionOf(request, peer);
  const flows = tunnels.map((tunnel) => flowOf(tunnel, peer, rules));
  if (new Set(flows.map(flowKeyOf)).size !== flows.length) throw malformed('a tunnel is named twice');
  const reverse = tunnels.flatMap((tunnel) => tunnel.reverseParams ?? []);
  if (reverse.length !== 0 && reverse.length !== tunnels.length) {
    throw malformed('reverse_params for some tunnels only');
  }
  const egress = reverse.map((parameters) => egressOf(parameters, peer, rules));
  if (repeatsSpi(egress)) throw malformed('reverse_params with one SPI for two tunnels');
  return {
    version,
    peerEpoch: request.epoch,
    flows,
    egress,
    keys: reverse.map((parameters) => parameters.encryptionKey),
  };
}

/** The answer. @param keys those of the offers; they are not copied. */
export function responseOf(
  requestId: bigint,
  epoch: bigint,
  offers: readonly Offer[],
  keys: readonly Buffer[],
): MultiTunnelResponse {
  return {
    requestId,
    epoch,
    tunnelsParams: offers.map((offer, i) => parametersOf(offer, keys[i] as Buffer)),
  };
}
