// SPDX-License-Identifier: Apache-2.0
// The node file that `psp init` writes if the operator has none: complete for nodes that were named together, with
// documentation addresses, and with every commonly used key as a comment.

const subnet = (index: number): string => `10.${(index % 250) + 1}.0`;
const host = (prefix: string, index: number): string => `${prefix}.${(index % 250) + 1}`;

/** @param nodes all that were named together; addresses follow from the position in this list. */
export function nodeTemplate(node: string, nodes: readonly string[]): string {
  const self = nodes.indexOf(node);
  const peers = nodes.filter((name) => name !== node);
  const peerLines = peers.map((name) => {
    const index = nodes.indexOf(name);
    return `  ${name}: { endpoint: "${host('198.51.100', index)}:3000", vips: [${subnet(index)}.0/24] }`;
  });
  const example = '  # b: { endpoint: "198.51.100.2:3000", vips: [10.2.0.0/24] }';
  return `# The gateway ${node}. Change addresses and ports to yours, then: psp config check -c FILE
node: ${node}

# The plaintext side. port: an interface, a PCI address or a DPDK device string.
# gateway: our address for the hosts behind us, one or a list; none if they need no gateway.
unsecured: { port: veth-host, gateway: ${subnet(self)}.1/24 }

# The wire. address: the outer source of our packets; its MTU must exceed that of the hosts by 80.
# gateway: next hop for peers outside the prefix of address; with onlink: true its address may lie outside, too.
secured: { port: veth-wire, address: ${host('192.0.2', self)}/24 }

# Where other gateways reach us to exchange keys: out of band, never through the wire that we encrypt.
keyExchange: { listen: "${host('198.51.100', self)}:3000" }

# Prefixes behind this gateway.
vips: [${subnet(self)}.0/24]

# Other gateways: where they exchange keys and the prefixes that they may speak for.
# underlay: prefixes of their secured addresses, where these lie outside the prefix of ours.
peers:${peerLines.length > 0 ? '' : ' {}'}
${peerLines.length > 0 ? peerLines.join('\n') : example}

# Tunnels agreed at start-up; all others on demand.
tunnels: []
# tunnels: [{ local: ${subnet(self)}.2, remote: 10.9.0.2 }]

# Defaults that you may change:
# trustDomain: psp                      # identities are spiffe://<trustDomain>/gateway/<node>
# versions: [1, 0]                      # by preference: 1 AES-GCM-256, 0 AES-GCM-128
# ingressAcl: true                      # false admits every packet that authenticates
# bypass: []                            # [{ prefix, protocol, port }]: what passes unencrypted
# bus: { listen: "127.0.0.1:4270" }     # this node's nats-server; that of the audit stream: audit.listen
# stateDir: /var/lib/psp/${node}
# log: { level: info }
`;
}
