// SPDX-License-Identifier: Apache-2.0
// The slice of the node file that the key exchange needs, and the files beside it, which are read once, before privileges
// are dropped.
import { familyOf, formatAddress, type Prefix, parsePrefix } from '../shared/address.js';
import { type BusSecret, readBusSecret } from '../shared/bus/secret.js';
import { identityOf, type NodeConfig, versionsWith } from '../shared/config/config.js';
import type { TlsFiles } from '../shared/config/node_certificate.js';
import { modes } from '../shared/modes.js';
import { type ServiceConfig, serviceConfigOf } from '../shared/service/service_config.js';
import { type Owner, ourselves, VipTable } from '../shared/vip_table.js';
import type { Rules } from './core/rules.js';

export interface KeyExchangeConfig extends ServiceConfig {
  rules: Rules;
  /** The URI that our own certificate must contain. */
  identity: string;
  /** host:port on which peers reach us. */
  listen: string;
  /** host:port without TLS; undefined unless a peer needs it. */
  insecureListen: string | undefined;
  tls: TlsFiles;
  bus: ServiceConfig['bus'] & {
    /** The node's bus secret; its octets are wiped once the service has its keys. */
    secret: BusSecret;
  };
}

const prefixes = (texts: readonly string[]): Prefix[] => texts.map(parsePrefix);

export function rulesOf(config: NodeConfig): Rules {
  const peers = Object.entries(config.peers);
  const own = parsePrefix(config.secured.address).address;
  const owned: [Owner, Prefix[]][] = peers.map(([name, { vips }]) => [name, prefixes(vips)]);
  return {
    node: config.node,
    outerFamily: familyOf(own),
    outerAddress: formatAddress(own),
    vips: new VipTable([[ourselves, prefixes(config.vips)], ...owned]),
    peers: new Map(
      peers.map(([name, peer]) => [
        name,
        {
          name,
          endpoint: peer.endpoint,
          identity: identityOf(config.trustDomain, name),
          underlay: prefixes(peer.underlay),
          insecure: peer.insecureReferenceInterop,
          versions: versionsWith(config.versions, peer),
          mayRotate: peer.mayRotate,
          mode: modes[peer.mode],
        },
      ]),
    ),
    exchangeMs: config.keyExchange.exchangeMs,
    callMs: config.keyExchange.callMs,
    limits: config.keyExchange.limits,
  };
}

/** host:port of the listener without TLS; undefined unless a peer needs it. */
export const insecureListenOf = ({ keyExchange, peers }: NodeConfig): string | undefined =>
  Object.values(peers).some((peer) => peer.insecureReferenceInterop)
    ? keyExchange.insecureReferenceListen
    : undefined;

/** @throws PspError FILE_UNREADABLE if a file beside the node file is missing or has other content. */
export function sliceOf(config: NodeConfig): KeyExchangeConfig {
  const common = serviceConfigOf(config, 'keyexchange');
  return {
    ...common,
    rules: rulesOf(config),
    identity: identityOf(config.trustDomain, config.node),
    listen: config.keyExchange.listen,
    insecureListen: insecureListenOf(config),
    tls: config.files,
    bus: { ...common.bus, secret: readBusSecret(config.files.busSecret) },
  };
}
