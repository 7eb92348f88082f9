// SPDX-License-Identifier: Apache-2.0
// The options of `psp pipeline trace`, parsed and checked before any file is opened: the port at which frames arrive,
// the MTUs, and the keys that replace those of the peers.
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { TraceOptions } from '../../native/addon/trace.js';
import { familyOf, mapped, parseAddress, parseMac, parsePrefix } from '../../services/shared/address.js';
import type { NodeConfig } from '../../services/shared/config/config.js';
import {
  cookieOctets,
  encapsulationOctets,
  ipHeaderOctets,
  leastMtu,
} from '../../services/shared/protocols.js';
import type { SharedOptions } from '../operator.js';
import { address, cookie, iv, type MasterKeys, masterKeyHelp, masterKeysOf, spi } from './pcap_options.js';

export interface TraceArguments extends SharedOptions, Partial<MasterKeys> {
  port: 'unsecured' | 'secured';
  limit: number;
  unsecuredMtu: number;
  securedMtu?: number;
  mac?: Uint8Array;
  spi?: number;
  iv?: bigint;
  vc?: bigint;
  outerDestination?: string;
}

const framesAtMost = 10_000;
const jumbo = 9216;

export function addTraceOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--port <port>', 'port at which the frames arrive')
        .choices(['unsecured', 'secured'])
        .default('unsecured'),
    )
    .option('--limit <frames>', 'number of frames to trace, from the first one', limit, 1000)
    .option('--mac <address>', 'MAC address of that port; default: frames to any address are accepted', mac)
    .option('--unsecured-mtu <octets>', 'MTU of the unsecured port', mtu, 1500)
    .option(
      '--secured-mtu <octets>',
      'MTU of the secured port; default: every packet fits once it is sealed',
      mtu,
    )
    .option('--master-key0 <hex>', masterKeyHelp(0))
    .option('--master-key1 <hex>', masterKeyHelp(1))
    .option('--spi <hex8>', 'SPI of packets that leave; without it no flow has a key', spi)
    .addOption(
      new Option('--iv <n>', 'IV of the first packet, incremented per packet (default: 1)').argParser(iv),
    )
    .option('--vc <hex16>', 'virtualization cookie of packets that leave; default: none', cookie)
    .option('--outer-destination <address>', 'address of the peers on the wire', address);
}

function limit(text: string): number {
  if (/^[1-9]\d{0,4}$/.test(text) && Number(text) <= framesAtMost) return Number(text);
  throw new InvalidArgumentError(`1 to ${framesAtMost} is expected; cut the file with editcap`);
}

function mtu(text: string): number {
  if (/^\d{1,4}$/.test(text) && Number(text) >= leastMtu[4] && Number(text) <= jumbo) return Number(text);
  throw new InvalidArgumentError(`${leastMtu[4]} to ${jumbo} is expected`);
}

function mac(text: string): Uint8Array {
  try {
    return parseMac(text);
  } catch {
    throw new InvalidArgumentError('6 octets are expected, such as 02:00:00:00:00:01');
  }
}

/** The most octets that encapsulation adds: with a wire MTU that has space for them, no packet is fragmented. */
const overheadOf = (family: 4 | 6): number => encapsulationOctets + ipHeaderOctets[family] + cookieOctets;

type Ports = Pick<TraceOptions, 'port' | 'unsecuredMtu' | 'securedMtu' | 'mac'>;

/** The ports; ends the command if the MTU of the wire is below the minimum of its family. */
export function portsOf(options: TraceArguments, { secured }: NodeConfig, command: Command): Ports {
  const { port, unsecuredMtu, mac } = options;
  const family = familyOf(parsePrefix(secured.address).address);
  const securedMtu = options.securedMtu ?? unsecuredMtu + overheadOf(family);
  if (securedMtu < leastMtu[family])
    command.error(`--secured-mtu ${securedMtu} is below the minimum; give ${leastMtu[family]} or more`);
  return { port, unsecuredMtu, securedMtu, ...(mac && { mac }) };
}

type Keys = Pick<TraceOptions, 'masterKeys' | 'key'>;

/**
 * The replacement of the keys; ends the command if options contradict each other. The caller wipes them.
 * @throws PspError FILE_UNREADABLE.
 */
export function keysOf(options: TraceArguments, { secured }: NodeConfig, command: Command): Keys {
  const { port, masterKey0, masterKey1, spi, outerDestination } = options;
  const leaving = ['spi', 'iv', 'vc', 'outerDestination'] as const;
  const given = leaving.filter((name) => options[name] !== undefined);
  if (spi === undefined && given.length > 0)
    return command.error(`--${flagOf(given[0])} goes with --spi; give both`);
  if ((masterKey0 === undefined) !== (masterKey1 === undefined))
    return command.error('--master-key0 and --master-key1 go together; give both');
  if (masterKey0 === undefined || masterKey1 === undefined)
    return spi === undefined
      ? {}
      : command.error('--spi needs the master keys; give --master-key0 and --master-key1');
  if (spi === undefined) {
    if (port === 'secured') return { masterKeys: masterKeysOf({ masterKey0, masterKey1 }, command) };
    return command.error('the master keys need --spi, or --port secured');
  }
  if (outerDestination === undefined)
    return command.error('--spi goes with --outer-destination, the address of the peers on the wire');
  const outer = parseAddress(outerDestination);
  if (familyOf(outer) !== familyOf(parsePrefix(secured.address).address))
    return command.error(`--outer-destination has another family than secured.address ${secured.address}`);
  const key = { spi, iv: options.iv ?? 1n, outerDestination: mapped(outer) };
  return {
    masterKeys: masterKeysOf({ masterKey0, masterKey1 }, command),
    key: options.vc === undefined ? key : { ...key, cookie: options.vc },
  };
}

const flagOf = (name = ''): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
