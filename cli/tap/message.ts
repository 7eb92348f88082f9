// SPDX-License-Identifier: Apache-2.0
// Converts a message to an object for the JSON lines of `psp tap`, decoded by the contract table. Names of fields are
// those of proto/bus.proto in camelCase, enums are shown by name, addresses as text, SPIs and epochs as 0x strings,
// other octets as hex. Of a seal only the length of its box is shown. Audit events and other JSON messages are
// unchanged.
import { formatAddress, formatEpoch, formatMac, formatSpi } from '../../services/shared/address.js';
import { contractNamed } from '../../services/shared/contracts.js';

export interface TappedMessage {
  /** Without the common prefix of the node's subjects. */
  subject: string;
  kind: 'event' | 'request' | 'audit' | 'unknown';
  /** Length on the bus in octets. */
  length: number;
  /** Decoded; absent if the message has no known format. */
  payload?: unknown;
  /** In place of payload: the first octets. */
  hex?: string;
}

/** Octets shown of what cannot be decoded. */
const shownOctets = 64;

export function tapped(name: string, octets: Uint8Array): TappedMessage {
  const contract = contractNamed(name);
  const head = { subject: name, kind: contract?.kind ?? ('unknown' as const), length: octets.length };
  try {
    if (contract === undefined) return { ...head, payload: parsed(octets) };
    const message: unknown = contract.payload.decode(octets);
    if (contract.kind === 'audit') return { ...head, payload: message };
    return { ...head, payload: shown('', message, contract.payload.toJSON?.(message)) };
  } catch {
    return { ...head, hex: hexOf(octets.subarray(0, shownOctets)) };
  }
}

/** Messages in JSON are objects. @throws Error otherwise. */
function parsed(octets: Uint8Array): unknown {
  if (octets[0] !== 0x7b) throw new Error('no JSON object');
  return JSON.parse(Buffer.from(octets).toString('utf8'));
}

const hexOf = (octets: Uint8Array): string => Buffer.from(octets).toString('hex');

const spis = new Set(['spi']);
const epochs = new Set(['epoch', 'peerEpoch', 'cookie']);

/** A decoded part. @param json the same part by the codec's toJSON, which has the names of enums. */
function shown(name: string, part: unknown, json: unknown): unknown {
  if (part instanceof Uint8Array) return shownOctetsOf(name, part);
  if (typeof part === 'bigint') return epochs.has(name) ? formatEpoch(part) : Number(part);
  if (typeof part === 'number')
    return spis.has(name) ? formatSpi(part) : typeof json === 'string' ? json : part;
  if (Array.isArray(part)) {
    const items = Array.isArray(json) ? json : [];
    return part.map((item, i) => shown(name, item, items[i]));
  }
  if (typeof part !== 'object' || part === null) return part;
  const fields = (json ?? {}) as Record<string, unknown>;
  return Object.fromEntries(
    Object.entries(part)
      .filter(([, value]) => value !== undefined)
      .map(([field, value]) =>
        field === 'box'
          ? ['boxLength', (value as Uint8Array).length]
          : [field, shown(field, value, fields[field])],
      ),
  );
}

function shownOctetsOf(name: string, octets: Uint8Array): string {
  const isAddress = name === 'source' || name === 'destination' || name === 'address';
  if (isAddress && (octets.length === 4 || octets.length === 16)) return formatAddress(octets);
  return name === 'mac' ? formatMac(octets) : hexOf(octets);
}
