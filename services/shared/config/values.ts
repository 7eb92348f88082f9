// SPDX-License-Identifier: Apache-2.0
// The types of values in the node file: names, addresses, prefixes, endpoints, numbers. A fault names what is expected;
// addresses are returned in canonical text.
import { z } from 'zod';
import {
  familyOf,
  formatAddress,
  formatPrefix,
  isAddress,
  isUnicast,
  networkOf,
  type Prefix,
  parseAddress,
  parseEndpoint,
  parsePrefix,
} from '../address.js';
import { isNodeName } from '../node_name.js';

const accepts = (parse: (text: string) => unknown) => (text: string) => {
  try {
    parse(text);
    return true;
  } catch {
    return false;
  }
};
export const text = (check: (value: string) => boolean, expected: string) =>
  z.string({ error: expected }).refine(check, { error: expected });

export const name = text(isNodeName, 'a name of a-z, 0-9 and -, at most 63 characters');
export const address = text(isAddress, 'an IPv4 or IPv6 address').transform((value) =>
  formatAddress(parseAddress(value)),
);
/** The prefix itself, or its broadcast address in IPv4; prefixes of one or two addresses have neither (RFC 3021). */
function isOfPrefix({ address, length }: Prefix, bits: 0 | 1): boolean {
  if (length >= address.length * 8 - 1) return false;
  const isBit = (i: number) => (((address[i >> 3] ?? 0) >> (7 - (i & 7))) & 1) === bits;
  return Array.from({ length: address.length * 8 - length }, (_, i) => length + i).every(isBit);
}
const parsesTo = (check: (prefix: Prefix) => boolean) => (value: string) =>
  !accepts(parsePrefix)(value) || check(parsePrefix(value));

/** An address of ours with the length of its connected prefix. */
export const interfaceAddress = text(
  (value) => accepts(parsePrefix)(value) && !isOfPrefix(parsePrefix(value), 0),
  'our address with the length of its prefix, as in 192.0.2.1/24',
)
  .refine(
    parsesTo((own) => familyOf(own.address) === 6 || !isOfPrefix(own, 1)),
    { error: 'an address other than the broadcast address of its prefix' },
  )
  .refine(
    parsesTo(({ address }) => isUnicast(address)),
    { error: 'a unicast address of this host' },
  )
  .transform((value) => formatPrefix(parsePrefix(value)));
export const prefix = text(
  (value) =>
    accepts(parsePrefix)(value) &&
    formatPrefix(networkOf(parsePrefix(value))) === formatPrefix(parsePrefix(value)),
  'a prefix (address/length with no host bits set)',
).transform((value) => formatPrefix(parsePrefix(value)));
export const prefixes = () =>
  z.array(prefix, { error: 'a list of prefixes' }).min(1, { error: 'at least one prefix' });
export const endpoint = text(accepts(parseEndpoint), 'host:port or [v6]:port');
const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isAddress(host) && host.startsWith('127.'));
export const loopback = text(
  (value) => accepts(parseEndpoint)(value) && isLoopback(parseEndpoint(value).host),
  'host:port on loopback, because the bus is not encrypted',
);
export const device = text((value) => value !== '', 'an interface, a PCI address or a DPDK device string');
/** A map with these keys and no others. */
export const section = <Shape extends z.core.$ZodShape>(shape: Shape) => {
  const keys = Object.keys(shape).join(', ');
  return z.strictObject(shape, {
    error: ({ code }) => (code === 'unrecognized_keys' ? `one of ${keys}` : `a section with ${keys}`),
  });
};
/** A whole number; `expected` describes it if the limits alone do not. */
export const count = (low: number, high: number, expected = `a whole number from ${low} to ${high}`) =>
  z
    .number({ error: expected })
    .int({ error: expected })
    .min(low, { error: expected })
    .max(high, { error: expected });
export const milliseconds = (low: number, high: number) =>
  count(low, high, `whole milliseconds from ${low} to ${high}`);
/** Milliseconds of each unit of a duration. */
const units = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const durationPattern = /^(\d{1,12})(ms|s|m|h|d)$/;

/** Milliseconds of a duration such as `90s`; undefined if the text is not one. */
export function millisecondsOf(text: string): number | undefined {
  const [, number, unit] = durationPattern.exec(text) ?? [];
  return unit === undefined ? undefined : Number(number) * units[unit as keyof typeof units];
}

const isWithin = (ms: number | undefined, low: string, high: string): ms is number =>
  ms !== undefined && ms >= (millisecondsOf(low) ?? 0) && ms <= (millisecondsOf(high) ?? 0);
const durationText = (low: string, high: string, expected: string) =>
  text((value) => isWithin(millisecondsOf(value), low, high), expected).transform(
    (value) => millisecondsOf(value) ?? 0,
  );
const durationExpected = (low: string, high: string) =>
  `a duration from ${low} to ${high}: a whole number with its unit (ms, s, m, h or d)`;

/**
 * A duration for people: `500ms`, `90s`, `10m`, `24h` or `7d`; in milliseconds once it is loaded. A default is given as
 * people write it, with `prefault`. @param low and high are durations, too.
 */
export const duration = (low: string, high: string) => durationText(low, high, durationExpected(low, high));
/** A duration, or one word with a meaning of its own. */
export const durationOr = <Word extends string>(low: string, high: string, word: Word) => {
  const error = `${durationExpected(low, high)}, or ${word}`;
  return z.union([z.literal(word, { error }), durationText(low, high, error)], { error });
};
export const flag = z.boolean({ error: 'true or false' });
/** A whole number, or one word with a meaning of its own. */
export const countOr = <Word extends string>(low: number, high: number, word: Word) => {
  const error = `a whole number from ${low} to ${high}, or ${word}`;
  return z.union([count(low, high, error), z.literal(word, { error })], { error });
};

/** What docs/config.md says about a key. */
export interface KeyDocument {
  meaning: string;
  /** The default, where it is not the one that the schema shows. */
  shownDefault?: string;
  /** What applies a change of the key. */
  takes: 'reload' | 'restart';
}

const documented =
  (takes: KeyDocument['takes']) =>
  <T extends z.ZodType>(type: T, meaning: string, shownDefault?: string): T => {
    const document: KeyDocument = { meaning, takes, ...(shownDefault !== undefined && { shownDefault }) };
    return type.meta({ document });
  };

/**
 * A key of which a change takes a restart of the node.
 * @param meaning in Markdown.
 * @param shownDefault the default in words, where the schema's own says too little.
 */
export const restart = documented('restart');
/** A key of which a change takes effect with `psp reload`; parameters as for `restart`. */
export const reload = documented('reload');
