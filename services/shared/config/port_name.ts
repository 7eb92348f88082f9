// SPDX-License-Identifier: Apache-2.0
// The names of ports in the node file, and the kernel interfaces that they refer to.

/**
 * The kernel interfaces of a port. As in the engine, a name that is not a DPDK device string is an interface. In a device
 * string, each `iface` in the spellings of packet sockets and of pcap for either direction, and each `remote` of a tap, is
 * an interface, also inside nested devices. Interfaces that a tap or virtio_user creates, and paths of sockets, are not
 * included, because no frame reaches a wire through them.
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
