// SPDX-License-Identifier: Apache-2.0
// `psp flows trace SRC DST`: the steps of the last exchange that gave the flow from SRC, a host here, to DST its key, with their
// times. The peer's own steps are within the gRPC call; the same command with DST and SRC shows them at the peer. JSON:
// docs/schemas/flows_trace.json.
import { type Command, InvalidArgumentError } from 'commander';
import type { ExchangeTrace } from '../../proto/gen/bus.js';
import { formatAddress, isAddress, parseAddress } from '../../services/shared/address.js';
import type { Bus } from '../../services/shared/bus/bus.js';
import { contracts } from '../../services/shared/contracts.js';
import { PspError } from '../../services/shared/errors.js';
import { stepNamed } from '../../services/shared/service/exchange_steps.js';
import { answerMs, asOperator, type SharedOptions } from '../operator.js';
import { print, printJson, table } from '../output.js';

/** For the answers of all replicas of the key exchange. */
const gatherMs = 400;

const address = (text: string): Buffer => {
  if (isAddress(text)) return Buffer.from(parseAddress(text));
  throw new InvalidArgumentError('an IP address is expected');
};

/** Defines the command below `psp flows`. */
export function addTrace(flows: Command): void {
  flows
    .command('trace')
    .description('show when each step of the last key exchange of a flow happened')
    .argument('<src>', 'address of a host behind this gateway', address)
    .argument('<dst>', 'address of a host behind a peer', address)
    .action((source: Buffer, destination: Buffer, _, command: Command) =>
      trace(command, source, destination),
    );
}

async function trace(command: Command, source: Buffer, destination: Buffer): Promise<void> {
  const { config, json } = command.optsWithGlobals<SharedOptions>();
  if (source.length !== destination.length) command.error('SRC and DST are not of the same family');
  const names = { source: formatAddress(source), destination: formatAddress(destination) };
  const exchange = await asOperator(config, async (bus) => lastOf(await gather(bus, source, destination)));
  if (exchange === undefined)
    throw new PspError('EXCHANGE_UNKNOWN', { one: names.source, other: names.destination });
  const { peer, flows, requestedBy, steps } = exchange;
  if (json) return printJson({ ...names, peer, requestedBy, flows, steps });
  const batch = flows > 1 ? `, with ${flows - 1} other flows` : '';
  print(
    `${names.source} to ${names.destination}: exchange with ${peer}, requested by ${requestedBy}${batch}\n`,
  );
  const rows = steps.map(({ us, deltaUs, service, step }) => [
    us.toFixed(1),
    deltaUs.toFixed(1),
    service,
    step,
    stepNamed(step)?.meaning ?? '',
  ]);
  print(table(['US', 'DELTA', 'SERVICE', 'STEP', 'WHAT HAPPENED'], rows));
}

async function gather(
  bus: Bus,
  source: Buffer,
  destination: Buffer,
): Promise<{ dataplane: ExchangeTrace[]; keyexchange: ExchangeTrace[] }> {
  const query = { flow: { source, destination } };
  const [dataplane, keyexchange] = await Promise.all([
    bus.request(contracts.dataplaneTrace, query, answerMs),
    bus.requestAll(contracts.keyexchangeTrace, query, gatherMs, answerMs),
  ]);
  return {
    dataplane: dataplane.exchanges,
    keyexchange: keyexchange.flatMap(({ exchanges }) => exchanges),
  };
}

const beginOf = ({ steps }: ExchangeTrace): bigint => steps[0]?.atNs ?? 0n;
const timeOf = ({ steps }: ExchangeTrace, name: string): bigint =>
  steps.find(({ step }) => step === name)?.atNs ?? 0n;

/** The newest exchange, with the steps of both services. */
function lastOf(found: { dataplane: ExchangeTrace[]; keyexchange: ExchangeTrace[] }) {
  const all = [...found.dataplane, ...found.keyexchange].sort((one, other) =>
    Number(beginOf(other) - beginOf(one)),
  );
  const [newest] = all;
  if (newest === undefined) return undefined;
  const parts = all.filter((each) => each === newest || isSame(each, newest) || isSame(newest, each));
  const steps = parts
    .flatMap((each) => each.steps)
    .sort((one, other) => Number(one.atNs - other.atNs))
    .map(({ step, atNs }, i, sorted) => ({
      step,
      service: stepNamed(step)?.service ?? 'unknown',
      us: microseconds(atNs - (sorted[0]?.atNs ?? 0n)),
      deltaUs: microseconds(atNs - (sorted[Math.max(0, i - 1)]?.atNs ?? 0n)),
    }));
  const requestedBy = newest.exchange === 0n ? ('peer' as const) : ('us' as const);
  return { peer: newest.peer, flows: newest.flows, requestedBy, steps };
}

const microseconds = (ns: bigint): number => Number(ns) / 1000;

/**
 * Whether both services speak of the same exchange. Ours have numbers; a peer's request is at the dataplane between the times
 * when the key exchange sent it there and received the answer.
 */
function isSame(one: ExchangeTrace, other: ExchangeTrace): boolean {
  if (one.epoch !== other.epoch || one.exchange !== other.exchange) return false;
  if (one.exchange !== 0n) return true;
  const [sent, answered] = [timeOf(one, 'acceptSent'), timeOf(one, 'acceptAnswered')];
  const received = timeOf(other, 'acceptReceived');
  return sent !== 0n && received >= sent && (answered === 0n || received <= answered);
}
