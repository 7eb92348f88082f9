// SPDX-License-Identifier: Apache-2.0
// A number is declared once in each language. Numbers that TypeScript and C++ must share are compared here, and no
// constant is declared twice in C++.
import { describe, expect, it } from 'vitest';
import { InstallResult, Mode, SamplePoint } from '../../proto/gen/bus.js';
import { serviceRow } from '../../services/shared/contracts.js';
import { fenceReach, highestSamplingLog2, samplesPerBatch, snapBytes } from '../../services/shared/limits.js';
import { modes } from '../../services/shared/modes.js';
import {
  cookieOctets,
  encapsulationOctets,
  extensionHeaders,
  highestCryptOffset,
  ipHeaderOctets,
  ipProtocols,
  leastMtu,
  neighbourDiscovery,
  pspPort,
} from '../../services/shared/protocols.js';
import { samplePoints } from '../../services/shared/samples/sample_points.js';
import { files, read } from './sources.js';

const native = files().filter((path) => /^native\/.*\.(cc|h)$/.test(path));
const codeOf = (path: string): string => read(path).replace(/\/\/.*$/gm, '');

interface Constant {
  name: string;
  value: string;
  path: string;
}

/** Every `constexpr` number of the native side. */
const constants: Constant[] = native.flatMap((path) =>
  [...codeOf(path).matchAll(/\bconstexpr\s+[\w:]+\s+([^;(){}]*=[^;{}]*);/g)].flatMap(([, list]) =>
    [...(list as string).matchAll(/\b(k[A-Z]\w*)\s*=\s*([^,]+)/g)].map(([, name, value]) => ({
      name: name as string,
      value: (value as string).trim(),
      path,
    })),
  ),
);

/** The value of a constant that is declared once. */
function constant(name: string): number {
  const found = constants.filter((each) => each.name === name);
  expect(found.map(({ path }) => path)).toHaveLength(1);
  return Number(found[0]?.value);
}

/** The members of an enumeration of the native side, by name without the k. */
function enumeration(name: string): Record<string, number> {
  const bodies = native.flatMap((path) =>
    [...codeOf(path).matchAll(new RegExp(`\\benum class ${name} : \\w+ \\{([^}]*)\\}`, 'g'))].map(
      ([, body]) => body,
    ),
  );
  expect(bodies).toHaveLength(1);
  const members = [...(bodies[0] as string).matchAll(/\bk(\w+) = (\d+)/g)];
  return Object.fromEntries(members.map(([, member, value]) => [member as string, Number(value)]));
}

const pascal = (text: string): string =>
  text.toLowerCase().replace(/(?:^|_)([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

/** The members of an enumeration of proto/bus.proto, named as in C++. */
const protoMembers = (table: object, prefix: string): Record<string, number> =>
  Object.fromEntries(
    Object.entries(table)
      .filter(([name, value]) => typeof value === 'number' && value > 0 && name.startsWith(prefix))
      .map(([name, value]) => [pascal(name.slice(prefix.length)), value as number]),
  );

const capitalized = (table: Readonly<Record<string, number>>): Record<string, number> =>
  Object.fromEntries(
    Object.entries(table).map(([name, value]) => [`${name[0]?.toUpperCase()}${name.slice(1)}`, value]),
  );

describe('enumerations are the same in proto/bus.proto, TypeScript and C++', () => {
  it('the modes', () => {
    expect(protoMembers(Mode, 'MODE_')).toEqual(enumeration('Mode'));
    expect(capitalized(modes)).toEqual(enumeration('Mode'));
  });

  it('the sample points', () => {
    expect(protoMembers(SamplePoint, 'SAMPLE_POINT_')).toEqual(enumeration('SamplePoint'));
    expect(capitalized(samplePoints)).toEqual(enumeration('SamplePoint'));
  });

  it('the results of an install', () => {
    expect(protoMembers(InstallResult, 'INSTALL_RESULT_')).toEqual(enumeration('InstallResult'));
  });
});

describe('numbers are the same in TypeScript and C++', () => {
  it.each([
    ['kUdpPort', pspPort],
    ['kIpv4Header', ipHeaderOctets[4]],
    ['kIpv6Header', ipHeaderOctets[6]],
    ['kLeastMtuIpv4', leastMtu[4]],
    ['kLeastMtuIpv6', leastMtu[6]],
    ['kProtocolIcmp', ipProtocols.icmp],
    ['kProtocolTcp', ipProtocols.tcp],
    ['kProtocolUdp', ipProtocols.udp],
    ['kProtocolDccp', ipProtocols.dccp],
    ['kProtocolIcmpv6', ipProtocols.icmpv6],
    ['kProtocolSctp', ipProtocols.sctp],
    ['kProtocolHopByHop', extensionHeaders.hopByHop],
    ['kProtocolRouting', extensionHeaders.routing],
    ['kProtocolFragment', extensionHeaders.fragment],
    ['kProtocolAuthentication', extensionHeaders.authentication],
    ['kProtocolDestinationOptions', extensionHeaders.destinationOptions],
    ['kNeighbourSolicitation', neighbourDiscovery.solicitation],
    ['kNeighbourAdvertisement', neighbourDiscovery.advertisement],
    ['kCookieLength', cookieOctets],
    ['kMaxCryptOffset', highestCryptOffset],
    ['kLongestFront', fenceReach.headerOctets],
    ['kMostExtensions', fenceReach.extensionHeaders],
    ['kRateAtMost', highestSamplingLog2],
    ['kSnapAtMost', snapBytes.most],
    ['kSampleBatch', samplesPerBatch],
  ])('%s', (name, value) => {
    expect(constant(name)).toBe(value);
  });

  it('the octets that encapsulation adds', () => {
    expect(constant('kUdpHeaderLength') + constant('kHeaderLength') + constant('kIcvLength')).toBe(
      encapsulationOctets,
    );
  });
});

describe('a constant of C++', () => {
  it('is declared once: no other module declares one of the same name and value', () => {
    expect(constants.length).toBeGreaterThan(200);
    const declared = new Map<string, Set<string>>();
    for (const { name, value, path } of constants) {
      const key = `${name} = ${value}`;
      declared.set(key, (declared.get(key) ?? new Set()).add(path));
    }
    const twice = [...declared].filter(([, paths]) => paths.size > 1);
    expect(twice.map(([key, paths]) => `${key} in ${[...paths].join(', ')}`)).toEqual([]);
  });
});

describe('gauges', () => {
  const named = native.map(read).find((text) => text.includes('#define PSP_VALUES(X)')) ?? '';
  const values = [...named.matchAll(/\bX\((k\w+), "(\w+)"/g)].map(([, member, name]) => ({
    member,
    name: name as string,
  }));
  const { gauges } = serviceRow('dataplane');

  it("of the engine's table come first, and are gauges in the contract table", () => {
    expect(values.length).toBeGreaterThan(40);
    const isGauge = values.map(({ name }) => gauges.includes(name));
    expect(isGauge.lastIndexOf(true)).toBe(isGauge.indexOf(false) - 1);
  });

  it('are the values of the engine that are set or lowered', () => {
    const changed = new Set(
      native.flatMap((path) =>
        [...codeOf(path).matchAll(/\[Value::(k\w+)\]\s*\.(?:set|subtract)\(/g)].map(([, member]) => member),
      ),
    );
    expect(changed.size).toBeGreaterThan(4);
    const lacking = values.filter(({ member, name }) => changed.has(member) && !gauges.includes(name));
    expect(lacking).toEqual([]);
  });
});
