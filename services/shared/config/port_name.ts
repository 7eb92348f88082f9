// SPDX-License-Identifier: Apache-2.0
// The names of ports in the node file: which of them stand for interfaces that the kernel has.

/**
 * The interfaces behind a port that the kernel has. A name that is no device is an interface, by the engine's
 * own rule. In a device string each `iface`, as it is spelt by packet sockets and by pcap for either direction,
 * and each `remote` of a tap is one, inside nested devices too. Left out is what no frame reaches a wire by: an
 * interface that a tap or virtio_user makes for itself, and the path of a socket.
 */
export function interfacesOf(port: string): string[] {
  const isPci = /^(?:[0-9a-f]+:)?[0-9a-f]+:[0-9a-f]+\.[0-9a-f]+(?:,|$)/i.test(port);
  if (!isPci && !/^(?:net_|eth_|virtio_user)/.test(port)) return [port];
  const names = new Set<string>();
  let device = '';
  for (const [, key, value] of port.matchAll(/([^=,()\s]+)(?:\s*=\s*([^,()\s]*))?/g)) {
    if (key === undefined) continue;
    if (value === undefined) device = key;
    else if (!value.includes('/') && (key === 'remote' || (/iface/.test(key) && !makesItsOwn(device))))
      names.add(value);
  }
  names.delete('');
  return [...names];
}

const makesItsOwn = (device: string): boolean =>
  /^(?:net_tap|net_tun|virtio_user|net_virtio_user)/.test(device);
