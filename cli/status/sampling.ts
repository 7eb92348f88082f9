// SPDX-License-Identifier: Apache-2.0
// `psp sampling`: shows how many packets that leave are copied for the sampler. With N it sets the rate to one of 2^N
// packets, with `off` to none, for one peer with --peer or else for all, until the next start of the dataplane, which
// uses the rates of the node file. Packets that arrive are sampled as their sender marked them. JSON: { egressLog2,
// peers: [{ name, egressLog2 }] } with null for off; docs/schemas/sampling.json.
import { type Command, InvalidArgumentError } from 'commander';
import type { Bus } from '../../services/shared/bus/bus.js';
import { contracts } from '../../services/shared/contracts.js';
import { isErrorCode, PspError } from '../../services/shared/errors.js';
import { highestSamplingLog2 } from '../../services/shared/limits.js';
import { answerMs, asOperator, type SharedOptions } from '../operator.js';
import { print, printJson } from '../output.js';

type Rate = number | 'off';

interface SamplingOptions extends SharedOptions {
  peer?: string;
}

interface Rates {
  egressLog2: number | null;
  /** The rate that applies to packets towards each peer. */
  peers: { name: string; egressLog2: number | null }[];
}

function rate(text: string): Rate {
  if (text === 'off') return text;
  if (/^\d{1,2}$/.test(text) && Number(text) <= highestSamplingLog2) return Number(text);
  throw new InvalidArgumentError(`a whole number from 0 to ${highestSamplingLog2}, or off, is expected`);
}

/** Defines the arguments and options of the command and what it does. */
export function define(command: Command): void {
  command
    .argument('[rate]', `N from 0 to ${highestSamplingLog2}: one of 2^N packets; off: none`, rate)
    .option('--peer <name>', 'only packets to this peer')
    .action((wanted: Rate | undefined, _, command: Command) => sampling(command, wanted));
}

async function sampling(command: Command, wanted: Rate | undefined): Promise<void> {
  const { config, json, peer } = command.optsWithGlobals<SamplingOptions>();
  const rates = await asOperator(config, async (bus, { peers, engine }) => {
    if (peer !== undefined && !Object.hasOwn(peers, peer)) {
      const known = Object.keys(peers).join(', ') || 'none';
      command.error(`there is no peer ${peer} in ${config}; its peers: ${known}`);
    }
    if (wanted !== undefined) await set(bus, wanted, peer ?? '', { file: config, kind: engine.kind });
    return ask(bus);
  });
  const shown = peer === undefined ? rates.peers : rates.peers.filter(({ name }) => name === peer);
  if (json) return printJson({ ...rates, peers: shown });
  if (peer !== undefined) return print(shown.map(ofPeer).join('\n'));
  const own = shown.filter(({ egressLog2 }) => egressLog2 !== rates.egressLog2);
  print([sentence(rates.egressLog2, ''), ...own.map(ofPeer)].join('\n'));
}

async function ask(bus: Bus): Promise<Rates> {
  const { samplingLog2, terms } = await bus.request(contracts.dataplaneStatus, {}, answerMs);
  return {
    egressLog2: samplingLog2 ?? null,
    peers: terms.map((peer) => ({ name: peer.name, egressLog2: peer.samplingLog2 ?? null })),
  };
}

/** @param of the node file, and the engine that it names. */
async function set(bus: Bus, wanted: Rate, peer: string, of: { file: string; kind: string }): Promise<void> {
  const message = { egressLog2: wanted === 'off' ? undefined : wanted, peer };
  const { code, faults } = await bus.request(contracts.samplingSet, message, answerMs);
  if (code === '') return;
  if (code === 'ENGINE_UNSUPPORTED') throw new PspError(code, { ...of, faults });
  throw new PspError(isErrorCode(code) ? code : 'ENGINE_FAILED', {
    subject: contracts.samplingSet.subject,
    detail:
      peer === '' ? code : `the dataplane refused it for peer ${peer}; it may run with an older node file`,
  });
}

const ofPeer = ({ name, egressLog2 }: Rates['peers'][number]): string =>
  sentence(egressLog2, ` towards ${name}`);

/**
 * @param whither " towards b", or empty for all.
 */
function sentence(egressLog2: number | null, whither: string): string {
  if (egressLog2 === null)
    return whither === '' ? 'sampling is off' : `no packet that leaves${whither} is sampled`;
  const packets = 2 ** egressLog2;
  return packets === 1
    ? `every packet that leaves${whither} is sampled`
    : `one of ${packets} packets that leave${whither} is sampled`;
}
