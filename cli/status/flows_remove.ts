// SPDX-License-Identifier: Apache-2.0
// `psp flows remove`: removes tunnels, both flows of each, with their keys. SRC and DST are addresses or prefixes and may
// be given in either order; --peer selects the tunnels with one peer, --all those with all. Held packets are dropped, and
// the next packet of a flow requests a new tunnel. JSON: { removed }; docs/schemas/flows_remove.json.
import { type Command, InvalidArgumentError } from 'commander';
import {
  isAddress,
  networkOf,
  type Prefix,
  parseAddress,
  parsePrefix,
} from '../../services/shared/address.js';
import { contracts } from '../../services/shared/contracts.js';
import { isErrorCode, PspError } from '../../services/shared/errors.js';
import { asOperator, type SharedOptions } from '../operator.js';
import { print, printJson } from '../output.js';

interface RemoveOptions extends SharedOptions {
  peer?: string;
  all?: true;
}

/** Timeout of the answer: a million tunnels take some seconds. */
const removedMs = 30_000;

interface Network extends Prefix {
  text: string;
}

function network(text: string): Network {
  try {
    if (!isAddress(text)) return { text, ...networkOf(parsePrefix(text)) };
    const address = parseAddress(text);
    return { text, address, length: address.length * 8 };
  } catch {
    throw new InvalidArgumentError('an IP address or a prefix (address/length) is expected');
  }
}

/** Defines the command below `psp flows`. */
export function addRemove(flows: Command): void {
  flows
    .command('remove')
    .description('remove tunnels with their keys; the next packet of a flow requests a new one')
    .argument('[src]', 'address or prefix of one end', network)
    .argument('[dst]', 'address or prefix of the other end', network)
    .option('--peer <name>', 'only tunnels with this peer')
    .option('--all', 'all tunnels')
    .action((one: Network | undefined, other: Network | undefined, _, command: Command) =>
      remove(command, one, other),
    );
}

async function remove(command: Command, one?: Network, other?: Network): Promise<void> {
  const { config, json, peer, all } = command.optsWithGlobals<RemoveOptions>();
  if (one !== undefined && other === undefined)
    command.error('a destination is missing: SRC and DST name a tunnel');
  if (one?.address.length !== other?.address.length)
    command.error(`${one?.text} and ${other?.text} are not of the same family`);
  if (one === undefined && peer === undefined && all === undefined)
    command.error('nothing is selected: give SRC and DST, --peer NAME, or --all');
  if (all !== undefined && (one !== undefined || peer !== undefined))
    command.error('--all selects every tunnel; leave it out, or leave out the other selection');
  const { code, removed } = await asOperator(config, (bus, { peers }) => {
    if (peer !== undefined && !Object.hasOwn(peers, peer)) {
      const known = Object.keys(peers).join(', ') || 'none';
      command.error(`there is no peer ${peer} in ${config}; its peers: ${known}`);
    }
    const message = { peer: peer ?? '', one: messageOf(one), other: messageOf(other) };
    return bus.request(contracts.flowRemove, message, removedMs);
  });
  if (code !== '') throw failure(code, peer);
  if (one !== undefined && removed === 0)
    throw new PspError('FLOW_UNKNOWN', { one: one.text, other: other?.text ?? '' });
  if (json) return printJson({ removed });
  print(removed === 1 ? 'removed 1 tunnel' : `removed ${removed} tunnels`);
}

const failure = (code: string, peer?: string) =>
  new PspError(isErrorCode(code) ? code : 'ENGINE_FAILED', {
    subject: contracts.flowRemove.subject,
    detail:
      peer === undefined
        ? code
        : `the dataplane refused it for peer ${peer}; it may run with an older node file`,
  });

const messageOf = (network: Network | undefined) =>
  network && { address: Buffer.from(network.address), length: network.length };
